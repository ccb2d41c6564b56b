"""Backends: TRL + PEFT + bitsandbytes anywhere, Unsloth on CUDA, behind one interface.

They load and adapt; the run is shared.
"""

from __future__ import annotations

from cbt_ray.training.backend.job import Backend
from cbt_ray.training.environment import require_unsloth


def open_backend(name: str) -> Backend:
    """The backend of a recipe; refused where this machine cannot run it."""
    if name == "unsloth":
        require_unsloth()
        from cbt_ray.training.backend.unsloth_backend import UnslothBackend

        return UnslothBackend()
    from cbt_ray.training.backend.trl_backend import TrlBackend

    return TrlBackend()
