"""What each part measures, in a process of its own; it prints a line of JSON, and a training one
after each step, so that what was measured before a limit is not lost.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cbt_ray.study.model import Dataset
from cbt_ray.training import dataset
from cbt_ray.training.backend import open_backend
from cbt_ray.training.backend.job import Job, MadeStep
from cbt_ray.training.backend.memory import peak_gib
from cbt_ray.training.environment import settle
from cbt_ray.training.mask import IGNORED
from cbt_ray.training.start.base import Base, open_base, read_base
from tests.therapy.spoken import WORDS
from tests.training.backend.runs import Nowhere
from tests.training.export.memory import random_model
from tests.training.gpu.size import WARM, Size, pairs_of, recipe_of, windows_of
from tests.training.sessions import SYSTEM, by_patient, course

Emit = Callable[[dict[str, Any]], None]


def run(part: str, size: Size, folder: Path, base: str) -> None:
    """A part, in this process."""
    settle()
    began = time.monotonic()

    def emit(found: dict[str, Any]) -> None:
        measured = {"seconds": round(time.monotonic() - began, 1), **found}
        print(json.dumps({"part": part, **measured}), flush=True)

    if part == "model":
        emit(models(size, folder, base))
        return
    measure: Callable[..., dict[str, Any]] = {
        "kernels": kernels,
        "job": whole_job,
        "vllm": served,
    }.get(part, stock if part.startswith("stock-") else ours)
    model = folder / ("short" if part == "job" else "model")
    found = measure(part, size, read_base(model, ""), folder / part, emit)
    emit({"peak_gib": round(peak_gib(), 2), **found})


def models(size: Size, folder: Path, base: str) -> dict[str, Any]:
    """The model that is trained, and a shorter one that is exported, both random."""
    tokenizer = open_base(base, folder)
    for name, shape in (("model", size.shape), ("short", size.short)):
        random_model(shape, folder / name, 5e9, tokenizer)
    return {"parameters": size.shape.parameters(), "exported": size.short.parameters()}


def ours(part: str, size: Size, base: Base, work: Path, emit: Emit) -> dict[str, Any]:
    """Our run of a backend, with the loss of held-out windows before and after.

    Of the arithmetic, 6 operations a parameter and token count: forward, once more, and backward.
    """
    job = _job(part, size, base, work)
    steps: list[MadeStep] = []

    def made(step: MadeStep) -> None:
        steps.append(step)
        emit({"losses": [one.loss for one in steps], "peak_gib": round(step.memory_gib, 2)})

    metrics = open_backend(job.recipe.backend).train(job, Nowhere(), made).metrics
    speed = _speed(job, steps, size)
    held_out = [one["loss"]["held_out"] for one in metrics.get("measured", [])]
    pairs = metrics.get("preference", {})
    return {"losses": metrics["loss"], **speed, "held_out": held_out, "pairs": pairs}


def _job(part: str, size: Size, base: Base, work: Path) -> Job:
    recipe = recipe_of(size, part, base.folder)
    measured = {"held_out": windows_of(size, 8, 2)}
    if recipe.method == "orpo":
        return Job(recipe, base, [], {}, work, 2, pairs_of(size))
    return Job(recipe, base, windows_of(size), measured, work, 2)


def _speed(job: Job, steps: list[MadeStep], size: Size) -> dict[str, float]:
    """Of the steps between the warm ones and the last, after which losses are taken; tokens
    without padding, as many as a step has on average.
    """
    windows = job.train or [one for pair in job.pairs for one in (pair.chosen, pair.rejected)]
    warm = min(WARM, len(steps) - 2)
    seconds = steps[-2].seconds - steps[warm - 1].seconds
    a_second = (len(steps) - 1 - warm) / len(steps) / seconds
    tokens = sum(len(one.input_ids) for one in windows) * a_second
    return {
        "supervised_per_second": round(sum(one.supervised for one in windows) * a_second, 1),
        "tokens_per_second": round(tokens, 1),
        "tflops": round(6 * size.shape.parameters() * tokens / 1e12, 3),
    }


def stock(part: str, size: Size, base: Base, work: Path, _emit: Emit) -> dict[str, Any]:
    """The backend's own trainer on the same model and tokens, packed, as its documentation has
    it.
    """
    recipe, windows = recipe_of(size, part, base.folder), windows_of(size)
    if recipe.backend == "unsloth":
        import unsloth  # noqa: F401  before trl and transformers

    import torch
    from datasets import Dataset as Rows
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            times.append(time.monotonic())

    cuda = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(work),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        num_train_epochs=1,
        packing=True,
        max_length=size.length,
        gradient_checkpointing=cuda,
        bf16=cuda,
        use_cpu=not cuda,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        optim=recipe.optimizer,
        learning_rate=recipe.learning_rate,
    )
    rows = Rows.from_list([{"input_ids": one.input_ids, "labels": one.labels} for one in windows])
    trainer = SFTTrainer(
        **_as_documented(Job(recipe, base, windows, {}, work, 2)),
        args=arguments,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(base.folder),
        callbacks=[Clock()],
    )
    trainer.train()
    warm = min(WARM, len(times) // 3)
    packed = [sum(label != IGNORED for label in row) for row in trainer.train_dataset["labels"]]
    mean = sum(packed) / len(packed)
    speed = mean * (len(times) - warm) / (times[-1] - times[warm - 1])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "rows": len(packed), "supervised_per_second": round(speed, 1)}


def _as_documented(job: Job) -> dict[str, Any]:
    """The model as the documentation of each has it: of Unsloth's own class, or of transformers'
    with PEFT's settings for TRL.

    https://huggingface.co/docs/trl/peft_integration#qlora-quantized-low-rank-adaptation
    """
    if job.recipe.backend == "unsloth":
        from cbt_ray.training.backend.unsloth_backend import adapted_model

        return {"model": adapted_model(job)}
    from peft import LoraConfig

    from cbt_ray.training.backend.adapter import lora_settings
    from cbt_ray.training.backend.trl_backend import load_model

    settings = LoraConfig(task_type="CAUSAL_LM", **lora_settings(job.recipe))
    return {"model": load_model(job.base.folder, job.recipe), "peft_config": settings}


def kernels(_part: str, size: Size, _base: Base, _work: Path, _emit: Emit) -> dict[str, Any]:
    """The GPU's kernels against what they stand for: NF4 against the CPU's, attention within the
    windows of a row against one window after the other.
    """
    from tests.training.gpu.kernels import attention, four_bit

    return {"four_bit": four_bit(size.shape), "attention": attention(size.shape, size.length)}


def whole_job(_part: str, size: Size, base: Base, work: Path, emit: Emit) -> dict[str, Any]:
    """From data to GGUF and gate, as training and export do it, by Unsloth where it is installed.

    Random weights cannot pass `stops`.
    """
    import torch

    from cbt_ray.training.made import Adapter, export_tuned
    from cbt_ray.training.tuned import tune

    sessions = [session for patient in "abcd" for session in course(patient, 3)]
    splits = dataset.build(
        by_patient(sessions),
        Dataset(),
        lambda session: f"{SYSTEM} Session {session.number}.",
        WORDS,
    )
    fast = torch.cuda.is_available() and find_spec("unsloth") is not None
    recipe = recipe_of(size, "unsloth" if fast else "trl", base.folder)
    recipe = recipe.model_copy(update={"max_steps": 4})
    threads, data = len(os.sched_getaffinity(0)), dataset.write(splits, work / "dataset")

    def say(line: str) -> None:
        emit({"backend": recipe.backend, "begun": line})

    tuned = tune(recipe, data, work, Nowhere(), lambda _step: None, threads=threads, say=say)
    adapter = Adapter(tuned.adapter, tuned.base.digest, tuned.answer_tokens)
    made = export_tuned(recipe, adapter, data, work, threads=threads, say=say)
    checks = {check["name"]: check["passed"] for check in made.metrics["gate"]}
    measured = {
        check["name"]: check["measured"]
        for check in made.metrics["gate"]
        if check["name"] in ("merge", "greedy", "quantized")
    }
    return {
        "backend": recipe.backend,
        "checks": checks,
        "measured": measured,
        "training_seconds": tuned.metrics["parts_seconds"],
        "export_seconds": made.metrics["parts_seconds"],
        "gguf_bytes": made.exported.gguf.path.stat().st_size,
    }


def served(_part: str, size: Size, base: Base, work: Path, _emit: Emit) -> dict[str, Any]:
    """vLLM with base and adapter: tokens a second, and how many of its words are those that
    transformers would have said next.
    """
    from tests.training.gpu.serving import agreement

    adapter = work.parent / "trl" / "adapter"
    prompts = [one.input_ids[: size.length // 8] for one in windows_of(size, 9, 8)]
    return agreement(base.folder, adapter, prompts)
