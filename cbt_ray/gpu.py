"""The GPU of a pod or a machine: whether torch sees it, and what hinders it."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

from cbt_ray.errors import InputError

ASKED = "CBT_RAY_GPU"
"""Says in the environment that a GPU is to be used, as in a pod that holds one: "1". Elsewhere
torch takes what it finds, and without one trains on the CPU."""
_DRIVER = Path("/proc/driver/nvidia/version")


def require_gpu() -> None:
    """Raise InputError where a GPU was asked for and torch sees none: training would take days on
    the CPU with the GPU held, and vLLM would start and fail again and again.
    """
    if os.environ.get(ASKED) != "1":
        return
    import torch

    if torch.cuda.is_available():
        return
    raise InputError(f"GPU: expected one that torch sees, as {ASKED}=1 says; {_between()}")


def unseen_gpu() -> str | None:
    """That training goes on on the CPU beside a GPU that torch does not see; None where there is
    none to see, or it was hidden by intent.
    """
    import torch

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or torch.cuda.is_available() or driver_cuda() is None:
        return None
    return f"on the CPU, since torch does not see this machine's GPU: {_versions()}"


def _between() -> str:
    """Both versions, and the remedy that they point to."""
    import torch

    build, highest = torch.version.cuda, driver_cuda()
    if not build:
        remedy = "use an image of TARGET=cuda"
    elif highest is None:
        remedy = "the container cannot load it: is a runtimeClassName missing (nvidia)?"
    elif highest < _version(build):
        remedy = "use a newer driver, or to train an image of CUDA=cu126"
    else:
        remedy = "the versions fit: see whether the node's GPU answers nvidia-smi"
    return f"{_versions()}; {remedy}"


def _versions() -> str:
    """That of torch's build, and that of the driver."""
    import torch

    build, driver, highest = torch.version.cuda, driver_version(), driver_cuda()
    torch_is = f"torch {torch.__version__} is built for {f'CUDA {build}' if build else 'a CPU'}"
    up_to = f" for CUDA up to {highest[0]}.{highest[1]}" if highest else ""
    return f"{torch_is}, the node's driver is {driver or 'not to be seen'}{up_to}"


def driver_version() -> str | None:
    """The version of the kernel's NVIDIA driver, which a container sees without a GPU, too."""
    try:
        found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", _DRIVER.read_text())
    except OSError:
        return None
    return found[0] if found else None


def driver_cuda() -> tuple[int, int] | None:
    """The highest CUDA version of the driver's library; None where it cannot be loaded."""
    version = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)):
            return None
    except OSError:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
