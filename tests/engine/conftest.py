from support.tensorrt_engines import exports
from support.threads import one_thread

__all__ = ["exports", "one_thread"]
