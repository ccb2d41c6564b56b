"""Trains with the real Unsloth on a CPU, in the environment that `make unsloth-cpu` made:

    .unsloth/bin/python -m tests.training.backend.unsloth_cpu JOBS FOUND

Unsloth takes the CPU for its own tests, and then leaves TRL as it is: what it skips for them is
called here. Triton interprets its kernels. What asks for a CUDA device finds the CPU. Those of LoRA
compute in fp32 as in 16 bit, once Unsloth takes the base for one of 16 bit.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cbt_ray.training.backend import unsloth_backend
from cbt_ray.training.backend.job import Job, Trained
from cbt_ray.training.environment import settle
from tests.training.backend.runs import Kept, Killed, Seen, fed

Found = dict[str, Seen]
"""By the name of the job."""


def main(jobs: Path, found: Path) -> None:
    _import(found.with_name("rewritten"))
    kernels = _watched_kernels()
    trained: Found = {}
    for name, (job, dies_behind) in pickle.loads(jobs.read_bytes()).items():  # noqa: S301
        kept = Kept(job.work.with_name(f"{name}-kept"), set(dies_behind))
        with fed(unsloth_backend) as batches:
            if dies_behind:
                with suppress(Killed):
                    _train(job, kept)
                assert kept.steps == dies_behind
            kernels.clear()
            trained[name] = Seen(_train(job, kept), batches, set(kernels))
    found.write_bytes(pickle.dumps(trained))


def _train(job: Job, kept: Kept) -> Trained:
    return unsloth_backend.UnslothBackend().train(job, kept, lambda _step: None)


def _import(rewritten: Path) -> None:
    """Import Unsloth as on a GPU."""
    os.environ |= {
        "UNSLOTH_ALLOW_CPU": "1",
        "TRITON_INTERPRET": "1",
        "UNSLOTH_COMPILE_LOCATION": str(rewritten),
    }
    settle()
    import unsloth  # noqa: F401  before torch, trl and transformers

    _take_the_cpu()
    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    from unsloth.context_parallel import patch_sft_trainer
    from unsloth.models.llama import FastLlamaModel
    from unsloth.models.rl import PatchFastRL
    from unsloth.trainer import _patch_trl_trainer

    PatchFastRL(FastLanguageModel=FastLlamaModel)
    _patch_trl_trainer()
    patch_sft_trainer()
    gc.freeze()  # Unsloth collects garbage often, and all of these modules would be looked at


def _watched_kernels() -> set[str]:
    """The names of Unsloth's own steps of autograd, each added when it is taken."""
    from torch.autograd import Function

    taken, seen = set[str](), {Function}

    def watched(name: str, apply: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            taken.add(name)
            return apply(*given, **named)

        return step

    for module in [one for name, one in sys.modules.items() if name.startswith("unsloth.kernels")]:
        for name, kernel in vars(module).items():
            if isinstance(kernel, type) and issubclass(kernel, Function) and kernel not in seen:
                seen.add(kernel)
                kernel.apply = watched(name, kernel.apply)  # type: ignore[attr-defined]
    return taken


class _One(list[Any]):
    """A list by device, where there is one, whatever it is called."""

    def __getitem__(self, _device: Any) -> Any:
        return super().__getitem__(0)

    def __setitem__(self, _device: Any, value: Any) -> None:
        super().__setitem__(0, value)


class _Count(int):
    """The number of devices, by which RoPE's cache makes its lists."""

    def __rmul__(self, each: Any) -> Any:
        return _One(each) if isinstance(each, list) else int(self) * each


def _take_the_cpu() -> None:
    import torch
    from unsloth.models import llama

    told = SimpleNamespace(name="cpu", total_memory=8 << 30, major=8, minor=0)
    torch.cuda.get_device_properties = lambda *_: told
    torch.cuda.get_device_capability = lambda *_: (told.major, told.minor)
    torch.cuda.current_device = lambda: "cpu"
    llama._base_weight_dtype = lambda _layer: torch.bfloat16
    for name, module in sys.modules.items():
        if name.startswith("unsloth"):
            ours = {"DEVICE_TYPE_TORCH": "cpu", "DEVICE_COUNT": _Count(1)}
            vars(module).update({one: ours[one] for one in ours.keys() & vars(module).keys()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
