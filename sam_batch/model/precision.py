"""Precisions by the names that the configuration gives them, and which of them a CPU is good at."""

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def cpu_multiplies_bfloat16() -> bool:
    """Whether this machine's CPU has instructions for it; without them bfloat16 is slower than float32."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
