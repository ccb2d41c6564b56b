"""QLoRA with TRL, PEFT and bitsandbytes, on CUDA or on a CPU: the trainer is fed tokens and labels, and touches neither.

A run that continues from a checkpoint ends, on a CPU, with the same bits as one that was never stopped.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError, Owed
from cbt_ray.study.model import Recipe
from cbt_ray.training.backend import Job, Progress, Report, Trained
from cbt_ray.training.checkpoint import Checkpoints, sigterm
from cbt_ray.training.environment import settle
from cbt_ray.training.mask import IGNORED, Window

log = logging.getLogger(__name__)
_STATE = "cbt-ray.json"
"""What we keep beside the trainer's own files in a checkpoint."""


class TrlBackend:
    """Training through TRL's SFTTrainer."""

    def train(self, job: Job, checkpoints: Checkpoints, report: Report) -> Trained:
        """Begin, or continue from the latest checkpoint, and train to the end."""
        if not job.train:
            raise InputError("dataset: train: expected at least one example")
        quiet()
        found = checkpoints.latest()
        with sigterm() as asked:
            run = _Run(job, checkpoints, report, asked, found[1] if found else None)
            run.train()
        if asked.is_set() and run.step < run.steps:
            raise Owed(f"training: stopped by SIGTERM after step {run.step} of {run.steps}; running again continues there")
        trained = run.finish()
        if found:
            trained.metrics["resumed_from"] = found[0]
        return trained


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


class _Run:
    """One run of a training: model, trainer, and what is counted on the way."""

    def __init__(self, job: Job, checkpoints: Checkpoints, report: Report, asked: threading.Event, resume: Path | None) -> None:
        import torch

        torch.set_num_threads(job.threads)
        self.began = time.monotonic()
        self.job, self.checkpoints, self.report, self.asked, self.resume = job, checkpoints, report, asked, resume
        self.model = load_model(job.base.folder, job.recipe)
        self.state = self._state()
        self.trainer = self._trainer()
        self.steps = int(self.trainer.args.max_steps)
        self.step = 0

    def train(self) -> None:
        """Train to the end or to SIGTERM."""
        if self.asked.is_set():
            return
        self.trainer.train(resume_from_checkpoint=str(self.resume) if self.resume else None)
        self.step = int(self.trainer.state.global_step)

    def finish(self) -> Trained:
        """Save the adapter and say what was measured."""
        adapter = self.job.work / "adapter"
        self.trainer.model.save_pretrained(adapter)
        after = held_out_loss(self.trainer.model, self.job.held_out)
        return Trained(adapter, self._metrics(after))

    def _metrics(self, after: float | None) -> dict[str, Any]:
        history = [entry for entry in self.trainer.state.log_history if "loss" in entry]
        return {
            "held_out_before": self.state["held_out_before"],
            "held_out_after": after,
            "loss": [entry["loss"] for entry in history],
            "grad_norm": [entry["grad_norm"] for entry in history],
            "learning_rate": [entry["learning_rate"] for entry in history],
            "steps": self.step,
            "tokens_seen": int(self.trainer.state.num_input_tokens_seen),
            "seconds": round(self.state["seconds"] + time.monotonic() - self.began, 1),
        }

    def _state(self) -> dict[str, Any]:
        """From the checkpoint, or measured before the first step."""
        if self.resume is not None:
            state: dict[str, Any] = json.loads((self.resume / _STATE).read_text())
            return state
        return {"held_out_before": held_out_loss(self.model, self.job.held_out), "seconds": 0.0}

    def keep(self, folder: Path, step: int) -> None:
        """Hand a checkpoint that the trainer wrote to the store."""
        seconds = self.state["seconds"] + time.monotonic() - self.began
        (folder / _STATE).write_text(json.dumps({**self.state, "seconds": seconds}))
        self.checkpoints.save(step, folder)

    def made(self, step: int, entry: dict[str, float]) -> None:
        """Report a step."""
        seen = int(self.trainer.state.num_input_tokens_seen)
        seconds = time.monotonic() - self.began
        self.report(Progress(step, self.steps, entry["loss"], entry.get("grad_norm", math.nan), seen, seconds))

    def _trainer(self) -> Any:
        from datasets import Dataset
        from transformers import AutoTokenizer, PrinterCallback
        from trl import SFTTrainer

        rows = [{"input_ids": window.input_ids, "labels": window.labels} for window in self.job.train]
        tokenizer = AutoTokenizer.from_pretrained(self.job.base.folder)
        _same_ids(tokenizer, self.job)
        adapted = _adapted(self.model, self.job.recipe)
        exact = {name: one.detach().clone() for name, one in adapted.named_parameters() if one.requires_grad}
        trainer = SFTTrainer(
            model=adapted,
            args=_arguments(self.job),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[_callback(self)],
        )
        trainer.remove_callback(PrinterCallback)
        for name, one in adapted.named_parameters():
            if name in exact:  # TRL turns the adapter of a 4-bit model into bf16: an lr of 2e-4 gets lost in its rounding
                one.data = exact[name]
        return trainer


def load_model(folder: Path, recipe: Recipe) -> Any:
    """The base model in NF4 (or in full), ready for an adapter."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    compute = torch.bfloat16 if torch.cuda.is_available() else torch.float32  # on a CPU bf16 is the slow one
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )
    extra = {"quantization_config": config} if recipe.load_4bit else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=compute, **extra)
    model.config.use_cache = False
    keep_gradients(model)
    return model


def keep_gradients(model: Any) -> None:
    """Forbid bitsandbytes to repack 4-bit weights at the first evaluation: on AVX512-BF16 CPUs that path has no gradients."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def held_out_loss(model: Any, windows: list[Window]) -> float | None:
    """Mean loss per supervised token; None where nothing is held out."""
    import torch

    total, count = 0.0, 0
    training = model.training
    model.eval()
    with torch.no_grad():
        for window in windows:
            labels = torch.tensor(window.labels[1:], device=model.device)
            at = (labels != IGNORED).nonzero()[:, 0]
            ids = torch.tensor([window.input_ids], device=model.device)
            logits = model(input_ids=ids, logits_to_keep=at).logits[0].float()
            total += float(torch.nn.functional.cross_entropy(logits, labels[at], reduction="sum"))
            count += len(at)
    model.train(training)
    return total / count if count else None


def _adapted(model: Any, recipe: Recipe) -> Any:
    """The model with a fresh adapter, whose weights the recipe's seed decides."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import set_seed

    lora = recipe.lora
    if recipe.load_4bit:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    set_seed(recipe.seed)
    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets), task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, config)
    keep_gradients(adapted)
    return adapted


def _arguments(job: Job) -> Any:
    import torch
    from trl import SFTConfig

    recipe, cuda = job.recipe, torch.cuda.is_available()
    per_epoch = math.ceil(math.ceil(len(job.train) / recipe.batch) / recipe.accumulation)
    return SFTConfig(
        output_dir=str(job.work / "trainer"),
        per_device_train_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulation,
        max_steps=recipe.max_steps or max(1, math.ceil(recipe.epochs * per_epoch)),
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        optim=recipe.optimizer,
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        loss_type="chunked_nll",  # the same sum without the logits of tokens that have no loss
        gradient_checkpointing=cuda or recipe.max_length > 2048,
        bf16=cuda,
        use_cpu=not cuda,
        logging_steps=1,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="all",
        save_strategy="steps",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,
        eval_strategy="no",
        report_to="none",
        push_to_hub=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _same_ids(tokenizer: Any, job: Job) -> None:
    """The trainer's tokenizer must have the special ids that the masks and llama.cpp have, or the tuned model never stops."""
    found, expected = (tokenizer.eos_token_id, tokenizer.pad_token_id), (job.base.eos_id, job.base.pad_id)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = job.base.template.eos
        found = (tokenizer.eos_token_id, tokenizer.pad_token_id)
    if found != expected:
        raise InputError(f"{job.base.folder}: tokenizer: expected eos and pad {expected}, not {found}")


def _callback(run: _Run) -> Any:
    """The trainer's hooks: report steps, hand checkpoints to the store, stop on SIGTERM behind a whole step."""
    from transformers import TrainerCallback

    class Hooks(TrainerCallback):  # type: ignore[misc]
        """Defined here because its base class comes with torch, which also decides these methods' arguments."""

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
            if run.asked.is_set() and state.global_step < state.max_steps:
                control.should_save = control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:  # noqa: ARG002
            if logs and "loss" in logs:
                run.made(state.global_step, logs)

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
            run.keep(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)

    return Hooks()
