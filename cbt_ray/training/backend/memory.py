"""Memory of this process and of its GPU, in GiB."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

GIB = 2**30
_M_MMAP_THRESHOLD = -3


def peak_gib() -> float:
    """The most that was in use so far: of the GPU by torch, without one by this process."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / GIB
    return resident_gib("VmHWM")


def resident_gib(what: str) -> float:
    """What Linux says of this process: VmRSS now, VmHWM at most; 0 elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = next((line.split()[1] for line in lines if line.startswith(f"{what}:")), "0")
    return int(found) * 1024 / GIB


def device_gib() -> float | None:
    """What the GPU has in all, None without one."""
    import torch

    return float(torch.cuda.mem_get_info()[1]) / GIB if torch.cuda.is_available() else None


def release() -> None:
    """Give back what a training that is over held: trainer, optimizer and model refer to each
    other.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def return_freed() -> None:
    """Have glibc give large blocks back to the system as they are freed.

    Unasked it raises the size from which it does so to 32 MiB; activations that gradient
    checkpointing drops then stay with the process, and its memory grows as if there were no
    checkpointing. No other C library needs it.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_THRESHOLD, 2**20)
