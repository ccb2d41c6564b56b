"""A model that is trained twice: its arm's sessions are held and scored with each checkpoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.study import load_study
from cbt_ray.unit import Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages import scripted
from tests.stages.probed import inputs_of

pytestmark = pytest.mark.slow

ARMS = [{"name": "plain", "model": "first"}, scripted.TUNED_ARMS[0]]


def test_sessions_and_scores_of_an_arm_are_of_each_training(tmp_path: Path) -> None:
    document: dict[str, Any] = scripted.study_document(tmp_path / "store", arms=ARMS)
    document["models"] = {"first": {**document["models"]["first"], "seeds": 2}}
    del document["imported"]
    file = scripted.write_study(tmp_path, document)
    for command in (["generate", str(file), "--inline"], ["dataset", str(file)]):
        assert run(command) == 0
    assert run(["simulate", str(file), "--inline"]) == 1, "two trainings are owed"
    bench = Bench(load_study(file), Silent(), inline=True)
    for made in bench.keys.models:  # as if they had been trained; a script answers for both
        for key in (bench.keys.adapter(made), bench.keys.model(made)):
            bench.store.put(Unit(key, {"seed": made.seed}, made_from=inputs_of(bench, key)))
    for command in (["simulate"], ["evaluate"]):
        assert run([*command, str(file), "--inline"]) == 0
    analysis = bench.store.get(bench.keys.analysis())
    assert analysis is not None
    rows = analysis.content["rows"]
    assert all(row["rated"] for row in rows)
    patients, sessions = 2, 2
    assert Counter((row["arm"], row["seed"]) for row in rows) == dict.fromkeys(
        [("plain", 0), ("first-tuned", 0), ("first-tuned", 1)], patients * sessions
    )
    keys = {(row["arm"], row["seed"], row["patient"], row["session"]): row for row in rows}
    assert len({row["session_key"] for row in keys.values()}) == len(rows)
    told = [
        unit.provenance["models"]
        for _, unit in bench.store.get_many(bench.keys.sessions())
        if unit is not None
    ]
    assert {name for models in told for name in models if name.startswith("therapist.")} == {
        "therapist.plain",
        "therapist.first-tuned",
        "therapist.first-tuned-t1",
    }
