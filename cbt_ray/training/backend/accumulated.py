"""The step that is under way: the batches of it that are made, and the gradients that they left.

SIGTERM stops a training after a batch, not after a step of many: what the batches left goes into
the checkpoint, and the run that goes on makes the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_FILE = "accumulated.pt"
"""What is in a checkpoint that was made within a step."""


class Accumulated:
    """The batches of a trainer's step under way, from a checkpoint on where there is one."""

    def __init__(self, trainer: Any, checkpoint: Path | None) -> None:
        import torch

        self._trainer, self._checkpoint = trainer, checkpoint
        self._losses: list[Any] = []
        self._before: dict[str, Any] | None = None
        if checkpoint is not None and (checkpoint / _FILE).exists():
            self._before = torch.load(checkpoint / _FILE, weights_only=True)
        self._make = trainer.training_step
        trainer.training_step = self._batch

    @property
    def batches(self) -> int:
        """How many this step has; 0 after a whole step, and until those of a run before are taken
        up.
        """
        return 0 if self._before is not None else len(self._losses)

    def end(self) -> None:
        """The step is made."""
        self._losses = []

    def write(self, folder: Path) -> None:
        """Put it into a checkpoint, whose folder may hold one of an earlier run."""
        import torch

        if not self.batches:
            (folder / _FILE).unlink(missing_ok=True)
            return
        left = {
            "losses": [loss.cpu() for loss in self._losses],
            "gradients": {
                name: one.grad.cpu()
                for name, one in self._trainer.model.named_parameters()
                if one.grad is not None
            },
            "tokens": int(self._trainer.state.num_input_tokens_seen),
            "figures": {name: list(values) for name, values in self._figures().items()},
        }
        torch.save(left, folder / _FILE)

    def _batch(self, model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
        """In place of the trainer's own: a batch that the run before made has the same loss, and
        costs nothing.
        """
        if self._before is not None:
            losses = self._before["losses"]
            if len(self._losses) < len(losses):
                self._losses.append(losses[len(self._losses)].to(self._trainer.args.device))
                return self._losses[-1]
            self._take_up(self._before)
        self._losses.append(self._make(model, inputs, *more, **named))
        return self._losses[-1]

    def _take_up(self, before: dict[str, Any]) -> None:
        """Behind the last of those batches all is as it was there, random numbers too."""
        for name, one in self._trainer.model.named_parameters():
            if name in before["gradients"]:
                one.grad = before["gradients"][name].to(one.device)
        self._trainer.state.num_input_tokens_seen = before["tokens"]
        self._figures().update(before["figures"])
        self._trainer._load_rng_state(str(self._checkpoint))
        self._before = None

    def _figures(self) -> Any:
        """What ORPO's trainer notes of each batch until it logs the step."""
        noted = getattr(self._trainer, "_stored_metrics", None)
        return noted["train"] if noted is not None else {}
