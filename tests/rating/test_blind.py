"""The judge is blind: no id, arm or model in any of its requests, and an order from which nothing
can be told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.llm import models
from cbt_ray.llm.request import Reply, Request
from cbt_ray.llm.scripted import ScriptedModel
from cbt_ray.prompts import Prompts
from cbt_ray.stages.rate import rate_sessions
from cbt_ray.study import Study, load_study
from cbt_ray.study.endpoint import ScriptedEndpoint
from cbt_ray.work.bench import Bench
from cbt_ray.work.keys import Keys
from cbt_ray.work.progress import for_terminal
from tests.study.example import RECIPE, example_study, write_study

pytestmark = pytest.mark.slow

ARMS = ("zebra-plain", "zebra-tuned")
MODEL = "walrus"
GIVEAWAY = "I am Walrus, the zebra-tuned one. WALRUS! What happened then?"


def study_file(folder: Path, **changes: Any) -> Path:
    arms = [{"name": arm, "model": MODEL} for arm in ARMS]
    blocks = {
        "study": "rehearsal-9",
        "models": {MODEL: {"recipe": RECIPE | {"compare": RECIPE["start"]}}},
        "arms": arms,
        "sessions__replicates": 2,
        "raters__judge__views": ["plain", "masked"],
        "store": str(folder / "runs"),
    }
    return write_study(folder, example_study(**blocks | changes))


class Talkative:
    """The scripted model, but that its therapists say who they are; keeps all requests."""

    def __init__(self) -> None:
        self.model = ScriptedModel(ScriptedEndpoint(kind="scripted"))
        self.requests: list[Request] = []

    def complete(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = self.model.complete(request)
        return replace(reply, text=GIVEAWAY) if request.schema is None else reply


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> Talkative:
    model = Talkative()
    monkeypatch.setattr(models, "language_model", lambda *_: model)
    return model


def test_no_request_of_the_judge_tells_an_arm_a_model_or_an_id(
    tmp_path: Path, talkative: Talkative
) -> None:
    file = study_file(tmp_path)
    assert run(["simulate", str(file), "--inline"]) == 0
    assert any(
        "Walrus" in message.content
        for request in talkative.requests
        for message in request.messages
    )
    talkative.requests.clear()
    assert run(["evaluate", str(file), "--inline"]) == 0
    study = load_study(file)
    sessions = Keys(study, Prompts()).sessions()
    assert len(talkative.requests) == 2 * len(sessions) == 16
    hidden = [
        *ARMS,
        MODEL,
        study.study,
        *(part for key in sessions for part in (key.id, key.h16, "instruct")),
    ]
    for request in talkative.requests:
        seen = "\n".join(message.content for message in request.messages) + str(request.schema)
        assert "[name]" in seen
        assert [
            name for name in hidden if re.search(rf"(?i)(?<!\w){re.escape(name)}(?!\w)", seen)
        ] == []


def read_order(file: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sessions as the judge would read them."""
    jobs: list[Any] = []
    monkeypatch.setattr(
        Bench, "carry_out", lambda _self, _stage, _work, given, *_: jobs.extend(given)
    )
    rate_sessions(Bench(load_study(file), for_terminal(), inline=True))
    return [f"{session.id} {view} {replicate}" for session, _, view, replicate in jobs]


def test_order_is_shuffled_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[Sequence[str]] = []
    for seed in (7, 7, 8):
        file = study_file(tmp_path, seed=seed)
        assert run(["simulate", str(file), "--inline"]) == 0
        with monkeypatch.context() as patch:
            orders.append(read_order(file, patch))
    first, again, other = orders
    assert first == again
    assert sorted(first) == sorted(other)
    assert first != other
    for order in (first, other):
        assert list(order) != sorted(order)
        arms = [entry.split(".")[0] for entry in order]
        assert sum(a != b for a, b in pairwise(arms)) > 2  # arms lie mixed, not behind each other
        assert len(set(order)) == 16


def test_sessions_with_nothing_to_rate_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(request: Request) -> Reply:
        reply = ScriptedModel(ScriptedEndpoint(kind="scripted")).complete(request)
        therapist = request.schema is None and "You are Nova" in request.messages[0].content
        return replace(reply, text="" if therapist else reply.text)

    asked: list[Request] = []

    class Silent:
        def complete(self, request: Request) -> Reply:
            asked.append(request)
            return silent(request)

    monkeypatch.setattr(models, "language_model", lambda *_: Silent())
    file = study_file(tmp_path, raters__judge__views=["plain"])
    assert run(["simulate", str(file), "--inline"]) == 0
    asked.clear()
    assert run(["evaluate", str(file), "--inline"]) == 0
    assert asked == []
    study: Study = load_study(file)
    bench = Bench(study, for_terminal(), inline=True)
    units = [bench.store.get(key) for key in bench.keys.ratings()]
    assert {unit.reason for unit in units if unit} == {"nothing_to_rate"}
    assert len(units) == 8
