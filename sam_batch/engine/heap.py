"""What the C library does with memory that a CPU engine has freed. It frees and takes nothing itself.

glibc gives freed memory back to the system as soon as 128 kB lie free at the end of its heap, and takes blocks of that
size from the system one by one. Each page then costs a page fault, again in every chunk of prompts: for the demo model
26,000 to 118,000 faults an image.
"""

import torch

LARGEST = 31 << 20  # bytes; blocks of more than 32 MB leave the limits alone


def keep_freed_memory() -> None:
    """Let glibc keep up to 62 MB of freed memory; other C libraries take no notice.

    Its limits follow the largest block ever freed (mallopt(3), M_MMAP_THRESHOLD), unless the environment sets them. The
    block's pages are never touched, so that it costs neither memory nor time.
    """
    torch.empty(LARGEST, dtype=torch.uint8)
