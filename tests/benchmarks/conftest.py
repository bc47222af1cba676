from support.export_once import export_once
from support.threads import one_thread

__all__ = ["export_once", "one_thread"]
