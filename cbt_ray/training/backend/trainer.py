"""What all backends share: the run of a training, its checkpoints, its figures, SIGTERM.

A run that continues from a checkpoint ends, on a CPU, with the same bits as one that was never
stopped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cbt_ray.count import many
from cbt_ray.errors import InputError, Owed
from cbt_ray.training.backend.accumulated import Accumulated
from cbt_ray.training.backend.adapter import exact, restore
from cbt_ray.training.backend.arguments import checkpoints_gradients, sft_arguments
from cbt_ray.training.backend.epochs import Epochs
from cbt_ray.training.backend.figures import Figures
from cbt_ray.training.backend.forecast import tell
from cbt_ray.training.backend.job import Diverged, Job, Report, Trained
from cbt_ray.training.backend.memory import return_freed
from cbt_ray.training.backend.orpo import orpo_trainer
from cbt_ray.training.backend.preferred import Measured, measure, of_step, of_steps, told
from cbt_ray.training.checkpoint import Checkpoints, sigterm
from cbt_ray.training.environment import settle
from cbt_ray.training.measured import UNSEEN

log = logging.getLogger(__name__)
_STATE = "cbt-ray.json"
"""What we keep beside the trainer's own files in a checkpoint."""
Adapt = Callable[[Job], Any]
"""Loads the base model and attaches a fresh adapter: what a backend has of its own."""


def run(adapt: Adapt, job: Job, checkpoints: Checkpoints, report: Report) -> Trained:
    """Begin, or continue from the latest checkpoint, and train to the end.

    Raises Owed when SIGTERM ended it with a checkpoint, InputError where it does not fit the GPU or
    its loss is no number.
    """
    _check(job)
    quiet()
    tell(job)
    found = checkpoints.latest()
    with sigterm() as asked, _fitting("batch, max_length: expected a training"):
        training = _Training(adapt, job, checkpoints, report, asked, found[1] if found else None)
        training.train()
        if asked.is_set() and training.step < training.steps:
            raise Owed(
                f"training: stopped by SIGTERM after {training.reached}; running again continues "
                "there"
            )
        trained = training.finish()
    if found:
        trained.metrics["resumed_from"] = found[0]
    return trained


def _check(job: Job) -> None:
    if job.recipe.method == "orpo":
        if not job.pairs:
            raise InputError("preferences: expected at least one pair")
    elif not job.train:
        raise InputError("dataset: train: expected at least one example")
    if job.recipe.keep == "best" and not any(map(job.measured.get, UNSEEN)):
        raise InputError(
            "keep: expected last, since nothing is held out or tested whose loss could tell which "
            "epoch is best"
        )


@contextlib.contextmanager
def _fitting(expected: str) -> Iterator[None]:
    """A GPU that is too small is for the user to see to: a further attempt would load all of it
    again, and end there, too.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        first = str(error).splitlines()[0] if str(error) else "out of memory"
        raise InputError(f"{expected} that fits the GPU ({first})") from error


def quiet() -> None:
    """Keep the libraries offline and their chatter off the console."""
    settle()
    for noisy in ("bitsandbytes", "peft", "trl", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


class _Training:
    """One run of a training: model, trainer, and what is counted on the way."""

    def __init__(
        self,
        adapt: Adapt,
        job: Job,
        checkpoints: Checkpoints,
        report: Report,
        asked: threading.Event,
        resume: Path | None,
    ) -> None:
        import torch

        torch.set_num_threads(job.threads)
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.reset_peak_memory_stats()  # of a training before it in this process
        if not cuda and checkpoints_gradients(job.recipe.max_length, cuda):
            return_freed()
        self.began = time.monotonic()
        self.job, self.checkpoints, self.report, self.asked, self.resume = (
            job,
            checkpoints,
            report,
            asked,
            resume,
        )
        with _fitting("load_4bit: expected a base"):
            adapted = adapt(job)
        self.trainer = self._trainer(adapted)
        self.accumulated = Accumulated(self.trainer, resume)
        self.steps = int(self.trainer.args.max_steps)
        self.step = 0
        self.saved = self.began
        self.epochs = Epochs(job, resume)
        self.state = self._state()
        self.figures = Figures(self.steps, self.began)

    def train(self) -> None:
        """Train to the end or to SIGTERM."""
        if self.asked.is_set():
            return
        if self.resume is None or not self._trained(self.resume):
            self.trainer.train(resume_from_checkpoint=str(self.resume) if self.resume else None)
        self.step = int(self.trainer.state.global_step)

    def _trained(self, checkpoint: Path) -> bool:
        """Take up a checkpoint of the last step and train no more: within an epoch the trainer
        would make one step too many.
        """
        from transformers import TrainerState

        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step < self.steps:
            return False
        self.trainer._load_from_checkpoint(str(checkpoint))
        self.trainer.state = state
        return True

    def finish(self) -> Trained:
        """Save the adapter that is kept and say what was measured."""
        adapter = self.job.work / "adapter"
        self.measure(self.step)
        restore(self.trainer.model, self.epochs.best)
        self.trainer.model.save_pretrained(adapter)
        pairs = told(self.job, self.state.get("pairs_before", {}), self.pairs())
        return Trained(adapter, self._metrics() | ({"preference": pairs} if pairs else {}))

    def measure(self, step: int, asked: threading.Event | None = None) -> None:
        """Take the losses as the model is now, in the precision of training; `asked` breaks that
        off.
        """
        with self.trainer.accelerator.autocast():
            self.epochs.measure(self.trainer.model, step, asked or threading.Event())

    def pairs(self) -> Measured:
        """How the model as it is now takes to preference pairs."""
        with self.trainer.accelerator.autocast():
            return measure(self.trainer.model, self.job)

    def _metrics(self) -> dict[str, Any]:
        history = [entry for entry in self.trainer.state.log_history if "loss" in entry]
        return {
            **self.epochs.metrics(self.step),
            "loss": [entry["loss"] for entry in history],
            "grad_norm": [entry["grad_norm"] for entry in history],
            "learning_rate": [entry["learning_rate"] for entry in history],
            **of_steps(history, self.job.recipe.orpo_beta),
            "steps": self.step,
            "tokens_seen": int(self.trainer.state.num_input_tokens_seen),
            "seconds": round(self.state["seconds"] + time.monotonic() - self.began, 1),
        }

    def _state(self) -> dict[str, Any]:
        """From the checkpoint, or measured before the first step."""
        if self.resume is not None:
            state: dict[str, Any] = json.loads((self.resume / _STATE).read_text())
            return state
        self.measure(0, self.asked)
        return {"pairs_before": self.pairs(), "seconds": 0.0}

    def keep(self, folder: Path, step: int) -> None:
        """Hand a checkpoint that the trainer wrote to the store."""
        seconds = self.state["seconds"] + time.monotonic() - self.began
        (folder / _STATE).write_text(json.dumps({**self.state, "seconds": seconds}))
        self.epochs.write(folder)
        self.accumulated.write(folder)
        self.checkpoints.save(step, folder, self.accumulated.batches)
        self.saved = time.monotonic()

    @property
    def reached(self) -> str:
        """How far it came, in words."""
        batches = self.accumulated.batches
        within = f" and {many(batches, 'batch')} of the next" if batches else ""
        return f"step {self.step} of {self.steps}{within}"

    def stop(self, control: Any) -> None:
        """On SIGTERM have the trainer make a checkpoint and stop, unless this was the last step."""
        if self.asked.is_set() and self.trainer.state.global_step < self.steps:
            control.should_save = control.should_training_stop = True

    @property
    def overdue(self) -> bool:
        """Whether the last checkpoint is so long ago that the next is made without its steps."""
        return time.monotonic() - self.saved >= 60 * self.job.recipe.checkpoint_minutes

    def begun(self) -> None:
        """The first step of this run begins; SIGTERM may have ended the one before it at the end of
        an epoch whose losses are not taken.
        """
        step = int(self.trainer.state.global_step)
        self._measure_epoch(step)
        self.figures.begin(step, int(self.trainer.state.num_input_tokens_seen))

    def _measure_epoch(self, step: int) -> None:
        """Take the losses where an epoch ends, or all; not while a checkpoint is waited for."""
        if self.epochs.end_with(step) or step == self.steps:
            self.measure(step, self.asked)

    def made(self, step: int, entry: dict[str, float]) -> None:
        """Report a step; before its checkpoint is written, which so holds its losses."""
        self._measure_epoch(step)
        progress = self.figures.progress(
            *(step, int(self.trainer.state.num_input_tokens_seen), entry, self.epochs.new()),
            of_step(entry, self.job.recipe.orpo_beta),
        )
        if step == self.figures.first + 2:
            self.job.say(
                f"{many(progress.tokens_per_second, 'token')} a second: about "
                f"{progress.left_s:.0f} s left"
            )
        self.report(progress)
        self._expect_numbers(step, entry)

    def _expect_numbers(self, step: int, entry: dict[str, float]) -> None:
        """A loss that is no number stays one: hours more would end in an export that cannot be
        stored in 16 bit.
        """
        loss, norm = entry["loss"], entry.get("grad_norm", 0.0)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(
                f"learning_rate: expected finite losses; at step {step} it is {loss}, its "
                f"gradient's norm {norm}"
            )

    def _trainer(self, adapted: Any) -> Any:
        from transformers import PrinterCallback

        weights = exact(adapted)
        made = orpo_trainer if self.job.recipe.method == "orpo" else _sft_trainer
        trainer = made(adapted, self.job, _tokenizer(self.job), _callback(self))
        trainer.remove_callback(PrinterCallback)
        restore(adapted, weights)
        return trainer


def _sft_trainer(model: Any, job: Job, tokenizer: Any, callback: Any) -> Any:
    from datasets import Dataset
    from trl import SFTTrainer

    rows = Dataset.from_list(
        [{"input_ids": window.input_ids, "labels": window.labels} for window in job.train]
    )
    # What Unsloth asks of tokens that it did not cut itself; without it, it pads after all.
    rows._unsloth_truncated_to = job.recipe.max_length
    return SFTTrainer(
        model=model,
        args=sft_arguments(job),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[callback],
    )


def _tokenizer(job: Job) -> Any:
    """The trainer's tokenizer: it must have the special ids of the masks and llama.cpp, or the
    tuned model never stops.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.base.folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = job.base.template.eos
    found, expected = (
        (tokenizer.eos_token_id, tokenizer.pad_token_id),
        (job.base.eos_id, job.base.pad_id),
    )
    if found != expected:
        raise InputError(
            f"{job.base.folder}: tokenizer: expected eos and pad {expected}, not {found}"
        )
    return tokenizer


def _callback(training: _Training) -> Any:
    """The trainer's hooks: report steps, hand checkpoints to the store, stop on SIGTERM after the
    batch that is under way.
    """
    from transformers import TrainerCallback

    class Hooks(TrainerCallback):  # type: ignore[misc]
        """Defined here because its base class comes with torch, which also decides these methods'
        arguments.
        """

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
            training.begun()

        def on_substep_end(
            self,
            args: Any,  # noqa: ARG002
            state: Any,  # noqa: ARG002
            control: Any,
            **more: Any,  # noqa: ARG002
        ) -> None:
            if training.accumulated.batches:
                training.stop(control)

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
            training.accumulated.end()
            control.should_save |= training.overdue
            training.stop(control)

        def on_log(
            self,
            args: Any,  # noqa: ARG002
            state: Any,
            control: Any,
            logs: Any = None,
            **more: Any,  # noqa: ARG002
        ) -> None:
            if logs and "loss" in logs:
                training.made(state.global_step, logs)
                training.stop(control)

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
            training.keep(
                Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step
            )
            control.should_training_stop |= training.asked.is_set()

    return Hooks()
