"""The demo study for real, made smaller: the embedded model writes, is tuned, talks and rates, as
the plan foretold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.llm.build import best_build
from cbt_ray.planning.estimate import estimate
from cbt_ray.rating.probe import VIEW
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import Study, load_study
from cbt_ray.unit import Stage, Status, Unit
from cbt_ray.work.usage import Costs
from tests.calls import A_SECOND, calls_of_command
from tests.stages import scripted
from tests.stages.loaded import check_data, check_loaded

DEMO = Path(__file__).parents[2] / "studies" / "demo.yaml"
SMALLER: dict[str, Any] = {
    "patients.training.count": 2,
    "courses.sessions": 2,
    "sessions.count": 1,
    "minimum.ratings": 2,
    "minimum.courses": 0.7,
    "sessions.max_messages": 8,
    "sessions.expected_messages": 8,
    "raters.judge.probes.which": ["empty", "guess_plain"],
}


@pytest.mark.study
@pytest.mark.llama
@pytest.mark.train
def test_the_demo_runs_for_real(tmp_path: Path) -> None:
    settings = {**SMALLER, "store": str(tmp_path / "store"), "study": "rehearsal"}
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    process = scripted.start("study", DEMO, *options)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.splitlines()[-1].startswith("report: "), "no library has the last word"

    units = scripted.units(tmp_path / "store")
    adapters, models = (
        [unit for unit in units.values() if unit.key.stage is stage]
        for stage in (Stage.ADAPTER, Stage.MODEL)
    )
    check_training(adapters, models)
    judged = [unit for unit in units.values() if unit.key.stage is Stage.RATINGS]
    ratings = [unit for unit in judged if f".{VIEW}" not in unit.key.id]
    assert len(ratings) == 4
    assert len(judged) == 4 + 2 * 2, "each probe of one session an arm"
    assert {unit.provenance["llama_cpp"] for unit in judged} == {str(best_build())}
    assert all(
        unit.status is Status.DONE and 11 <= unit.content["measures"]["total"]["value"] <= 110
        for unit in ratings
    )
    check_plan(load_study(DEMO, settings), Costs(FolderStore(tmp_path / "store"), "rehearsal"))

    assert calls_of_command(["study", str(DEMO), *options], tmp_path) < 10 * A_SECOND, (
        "nothing is owed: seconds"
    )
    assert scripted.units(tmp_path / "store").keys() == units.keys()

    files, data = tmp_path / "tuned", tmp_path / "data"
    files.mkdir()
    assert run(["weights", str(DEMO), "--arm", "smollm2-tuned", "--to", str(files), *options]) == 0
    check_loaded(files, load_study(DEMO).models["smollm2"].recipe.start, tmp_path / "base")
    assert run(["data", str(DEMO), "--to", str(data), *options]) == 0
    check_data(data / "dataset")


def check_training(adapters: list[Unit], models: list[Unit]) -> None:
    """Both arms come from the same converter and type.

    The tuned one learnt, and its tokens are those of training.
    """
    assert {unit.key.id for unit in models} == {"smollm2-tuned", "smollm2-instruct"}
    (tuned,) = adapters
    first, *_, last = tuned.content["metrics"]["measured"]
    assert last["loss"]["held_out"] < first["loss"]["held_out"]
    assert {unit.content["metrics"]["quantization"] for unit in models} == {"q8_0"}
    checks = {
        unit.key.id: {check["name"]: check["passed"] for check in unit.content["metrics"]["gate"]}
        for unit in models
    }
    assert all(passed is not False for found in checks.values() for passed in found.values())
    assert {name for name, passed in checks["smollm2-tuned"].items() if passed} >= {
        "merge",
        "greedy",
        "stops",
        "upload",
    }
    assert len({unit.content["gguf"]["sha256"] for unit in models}) == 2


def check_plan(study: Study, costs: Costs) -> None:
    """The plan's calls and tokens are within a quarter of what the run took."""
    estimates = estimate(study)
    calls, tokens = (
        sum(e.calls for e in estimates),
        sum(e.prompt_tokens + e.reply_tokens for e in estimates),
    )
    assert calls == pytest.approx(costs.total.calls, rel=0.25)
    assert tokens == pytest.approx(costs.total.tokens, rel=0.25)
