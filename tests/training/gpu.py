"""Training on this machine's GPU against the backends' own trainers: losses, speed, memory, and the
whole job down to a GGUF.

    python -m tests.training.gpu [--small] [--part PART ...]

Random weights in the shape of a 7B model, random tokens in windows of up to 8,192. Each part is a
process of its own and prints a line of JSON; what fails is named and does not stop the others. At
the end: the losses of both backends beside each other, and the supervised tokens a second of ours
over those of the stock trainer with packing. `--small` is a tiny shape for a CPU (a test).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.study.model import Dataset
from cbt_ray.study.recipe import Recipe
from cbt_ray.training import dataset
from cbt_ray.training.backend import open_backend
from cbt_ray.training.backend.job import Job
from cbt_ray.training.backend.memory import device_gib, peak_gib
from cbt_ray.training.environment import settle
from cbt_ray.training.mask import IGNORED, Window
from cbt_ray.training.start.base import Base, open_base
from tests.therapy.spoken import WORDS
from tests.training.backend.runs import Nowhere
from tests.training.export.memory import EMBEDDED, Shape, random_model
from tests.training.sessions import SYSTEM, by_patient, course

PARTS = ("trl", "unsloth", "stock-trl", "stock-unsloth", "job")
STEPS, WARM = 20, 4
"""Optimizer steps of a run, and how many of them are not timed."""


@dataclass(frozen=True)
class Size:
    """What is trained: a shape, and how long its windows are."""

    shape: Shape
    length: int


LARGE = Size(Shape(vocabulary=49152, layers=32), 8192)
SMALL = Size(
    Shape(hidden=64, intermediate=128, heads=4, kv_heads=2, vocabulary=49152, layers=2), 256
)


def recipe_of(size: Size, backend: str, folder: Path) -> Recipe:
    return Recipe(
        start=str(folder),
        compare=str(folder),
        licence="none",
        backend="unsloth" if "unsloth" in backend else "trl",
        batch=1,
        accumulation=1,
        warmup_steps=2,
        max_steps=STEPS,
        max_length=size.length,
        checkpoint_steps=10_000,
        gate_prompts=4,
    )


def windows_of(size: Size) -> list[Window]:
    """Therapist turns of 40 tokens behind patient turns of 60, in windows of a quarter of the
    length and more; one a step.
    """
    draw = random.Random(7)
    found = []
    for number in range(STEPS):
        ids = [
            draw.randrange(100, 40_000)
            for _ in range(draw.randrange(size.length // 4, size.length))
        ]
        found.append(
            Window(
                "p",
                number,
                ids,
                [token if at % 100 >= 60 else IGNORED for at, token in enumerate(ids)],
            )
        )
    return found


def ours(backend: str, size: Size, base: Base, work: Path) -> dict[str, Any]:
    """Our run of a backend.

    Of the arithmetic, 6 operations a parameter and token count: forward, once more, and backward.
    """
    windows, steps = windows_of(size), []
    job = Job(recipe_of(size, backend, base.folder), base, windows, {}, work, 2)
    trained = open_backend(backend).train(job, Nowhere(), steps.append)
    timed = steps[WARM - 1], steps[-1]
    speed = (timed[1].tokens - timed[0].tokens) / (timed[1].seconds - timed[0].seconds)
    share = sum(window.supervised for window in windows) / sum(
        len(window.input_ids) for window in windows
    )
    return {
        "losses": trained.metrics["loss"],
        "supervised_per_second": round(speed * share, 1),
        "tokens_per_second": round(speed, 1),
        "tflops": round(6 * size.shape.parameters() * speed / 1e12, 3),
    }


def stock(backend: str, size: Size, base: Base, work: Path) -> dict[str, Any]:
    """The backend's own trainer on the same model and tokens, packed, as its documentation has
    it.
    """
    recipe, windows = recipe_of(size, backend, base.folder), windows_of(size)
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


def whole_job(size: Size, base: Base, work: Path) -> dict[str, Any]:
    """From data to GGUF and gate, as training and export do it.

    Random weights cannot pass `stops`.
    """
    from cbt_ray.training.made import Adapter, export_tuned
    from cbt_ray.training.tuned import tune

    sessions = [session for patient in "abcd" for session in course(patient, 3)]
    splits = dataset.build(
        by_patient(sessions),
        Dataset(),
        lambda session: f"{SYSTEM} Session {session.number}.",
        WORDS,
    )
    recipe = recipe_of(size, "trl", base.folder).model_copy(update={"max_steps": 4})
    threads, data = len(os.sched_getaffinity(0)), dataset.write(splits, work / "dataset")
    tuned = tune(recipe, data, work, Nowhere(), lambda _step: None, threads=threads)
    adapter = Adapter(tuned.adapter, tuned.base.digest, tuned.answer_tokens)
    made = export_tuned(recipe, adapter, data, work, threads=threads)
    checks = {check["name"]: check["passed"] for check in made.metrics["gate"]}
    measured = {
        check["name"]: check["measured"]
        for check in made.metrics["gate"]
        if check["name"] in ("merge", "greedy", "quantized")
    }
    return {
        "checks": checks,
        "measured": measured,
        "training_seconds": tuned.metrics["parts_seconds"],
        "export_seconds": made.metrics["parts_seconds"],
        "gguf_bytes": made.exported.gguf.path.stat().st_size,
    }


def run(part: str, size: Size, folder: Path) -> None:
    settle()
    base, work, began = open_base(str(folder / "model"), folder), folder / part, time.monotonic()
    if part == "job":
        found = whole_job(size, base, work)
    else:
        found = (stock if part.startswith("stock-") else ours)(part, size, base, work)
    print(
        json.dumps(
            {
                "part": part,
                "seconds": round(time.monotonic() - began, 1),
                "peak_gib": round(peak_gib(), 2),
                **found,
            }
        )
    )


def main(parts: list[str], size: Size, small: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="cbt-ray-gpu-"))
    embedded = open_base(EMBEDDED, folder)
    random_model(size.shape, folder / "model", 5e9, embedded)
    print(
        json.dumps({"parameters": size.shape.parameters(), "device_gib": device_gib()}), flush=True
    )
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        command = [
            sys.executable,
            "-m",
            "tests.training.gpu",
            "--run",
            part,
            str(folder),
            *(["--small"] if small else []),
        ]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        line = made.stdout.splitlines()[-1] if made.returncode == 0 else ""
        if line:
            found[part] = json.loads(line)
        print(
            line or json.dumps({"part": part, "failed": made.stderr.splitlines()[-8:]}), flush=True
        )
    print(json.dumps(conclusions(found)))


def conclusions(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ours over stock for each backend, and how far the losses of both backends are apart at
    most.
    """
    said: dict[str, Any] = {}
    for backend in ("trl", "unsloth"):
        if backend in found and f"stock-{backend}" in found:
            speeds = (
                found[backend]["supervised_per_second"],
                found[f"stock-{backend}"]["supervised_per_second"],
            )
            said[f"{backend}_over_stock"] = round(speeds[0] / speeds[1], 3)
    if "trl" in found and "unsloth" in found:
        pairs = zip(found["trl"]["losses"], found["unsloth"]["losses"], strict=True)
        said["losses_apart"] = max(abs(one - other) for one, other in pairs)
    return said


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--run", nargs=2)
    given = parser.parse_args()
    chosen = SMALL if given.small else LARGE
    if given.run:
        run(given.run[0], chosen, Path(given.run[1]))
    else:
        main(given.part or list(PARTS), chosen, given.small)
