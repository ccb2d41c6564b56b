"""Trains with the real Unsloth on a CPU, in the environment that `make unsloth-cpu` made:

    .unsloth/bin/python -m tests.training.backend.unsloth_cpu JOBS FOUND

Unsloth takes the CPU for its own tests, and then leaves TRL as it is: what it skips for them is
called here. Triton interprets its kernels. What asks for a CUDA device finds the CPU.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cbt_ray.training.backend import unsloth_backend
from cbt_ray.training.backend.job import Job, Trained
from cbt_ray.training.environment import settle
from tests.training.backend.runs import Kept, Killed

Batches = list[dict[str, Any]]
Found = dict[str, tuple[Trained, Batches]]
"""Of each job: the training, and what the model was fed in it."""


def main(jobs: Path, found: Path) -> None:
    _import(found.with_name("rewritten"))
    trained: Found = {}
    for name, (job, dies_behind) in pickle.loads(jobs.read_bytes()).items():  # noqa: S301
        kept = Kept(job.work.with_name(f"{name}-kept"), set(dies_behind))
        with fed(unsloth_backend) as batches:
            if dies_behind:
                with suppress(Killed):
                    _train(job, kept)
                assert kept.steps == dies_behind
            trained[name] = _train(job, kept), batches
    found.write_bytes(pickle.dumps(trained))


def _train(job: Job, kept: Kept) -> Trained:
    return unsloth_backend.UnslothBackend().train(job, kept, lambda _step: None)


@contextmanager
def fed(backend: Any) -> Iterator[Batches]:
    """The tensors that the model of a backend's module is fed in training."""
    batches: Batches = []
    made_by = backend.adapted_model

    def record(module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        if module.training:
            named = sorted(inputs.items())
            batches.append({n: one.tolist() for n, one in named if hasattr(one, "tolist")})

    def watched(job: Job) -> Any:
        model = made_by(job)
        model.register_forward_pre_hook(record, with_kwargs=True)
        return model

    backend.adapted_model = watched
    try:
        yield batches
    finally:
        backend.adapted_model = made_by


def _import(rewritten: Path) -> None:
    """Import Unsloth as on a GPU."""
    os.environ |= {
        "UNSLOTH_ALLOW_CPU": "1",
        "TRITON_INTERPRET": "1",
        "UNSLOTH_COMPILE_LOCATION": str(rewritten),
    }
    settle()
    import unsloth  # noqa: F401  before torch, trl and transformers

    _on_the_cpu()
    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    from unsloth.context_parallel import patch_sft_trainer
    from unsloth.models.llama import FastLlamaModel
    from unsloth.models.rl import PatchFastRL
    from unsloth.trainer import _patch_trl_trainer

    PatchFastRL(FastLanguageModel=FastLlamaModel)
    _patch_trl_trainer()
    patch_sft_trainer()
    gc.freeze()  # Unsloth collects garbage often, and all of these modules would be looked at


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


def _on_the_cpu() -> None:
    import torch

    told = SimpleNamespace(name="cpu", total_memory=8 << 30, major=8, minor=0)
    torch.cuda.get_device_properties = lambda *_: told
    torch.cuda.get_device_capability = lambda *_: (told.major, told.minor)
    torch.cuda.current_device = lambda: "cpu"
    for name, module in sys.modules.items():
        if name.startswith("unsloth"):
            ours = {"DEVICE_TYPE_TORCH": "cpu", "DEVICE_COUNT": _Count(1)}
            vars(module).update({one: ours[one] for one in ours.keys() & vars(module).keys()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
