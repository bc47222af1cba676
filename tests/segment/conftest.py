from support.export_once import export_once
from support.tensorrt_engines import exports
from support.threads import one_thread

__all__ = ["export_once", "exports", "one_thread"]
