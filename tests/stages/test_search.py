"""A search on a tiny model: killed between its candidates, continued, the better one exported."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.stages import train as stage
from cbt_ray.stages.searched import candidates_of, chosen_of
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.study.licence import published_name
from cbt_ray.study.model import Checkpoint
from cbt_ray.training.backend.job import Diverged
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.survey import State
from tests.stages import scripted

pytestmark = [pytest.mark.train, pytest.mark.llama]
MADE = Checkpoint("first", True)
RATES = [1e-6, 4e-3]
"""The second learns more; the first comes first in the file."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, speaking: Path) -> Path:
    """The file of a study whose courses and dataset are there, and which searches."""
    folder = tmp_path_factory.mktemp("search")
    document = scripted.study_document(folder / "store", **scripted.tuned(speaking, "first"))
    document["dataset"] = {"test": 0.3}
    own: dict[str, Any] = {"search": {"learning_rate": RATES}, "load_4bit": False, "keep": "best"}
    own |= {"max_steps": 24}  # long enough to be met in its middle
    document["models"]["first"]["recipe"] |= own
    file = scripted.write_study(folder, document)
    for command in ("generate", "dataset"):
        assert run([command, str(file), *(["--inline"] if command == "generate" else [])]) == 0
    return file


def adapters(study: Path) -> dict[str, Unit]:
    """By their ids."""
    found = scripted.units(study.parent / "store", Stage.ADAPTER).values()
    return {unit.key.id: unit for unit in found}


def bench(study: Path, **search: Any) -> Bench:
    own = {f"models.first.recipe.search.{name}": values for name, values in search.items()}
    return Bench(load_study(study, own), Silent())


def test_a_search_that_is_killed_trains_nothing_twice_and_exports_the_better(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(study.parent / "store")
    process = scripted.start("train", study)
    second = "rehearsal/checkpoints/first-tuned/"
    scripted.wait_until(  # the one before it is whole, whatever becomes of this
        lambda: any("step-000002" in path for path in store.list(second)), process
    )
    scripted.kill(process)
    (done,) = adapters(study).values()
    assert done.key.id == "first-tuned-lr1e-06"
    live = f"rehearsal/training/{done.key.id}/{done.key.h16}.jsonl"
    before = {path: store.read(path) for path in (str(done.key), live)}
    assert run(["status", str(study)]) == 0
    assert "search first: 1 of 2 candidates; the lowest held-out loss so far is " in (
        capsys.readouterr().out
    )
    assert run(["export", str(study)]) == 1, "a candidate is owed"

    assert run(["train", str(study)]) == 0
    assert {path: store.read(path) for path in before} == before, "it was trained once"
    other = adapters(study)["first-tuned"]
    assert other.provenance["measured"]["resumed_from"] > 0
    assert not list(store.list("rehearsal/checkpoints/"))

    assert run(["export", str(study)]) == 0
    chosen = chosen_of(bench(study), MADE)
    losses = [one.loss for one in candidates_of(bench(study), MADE)]
    assert losses[1] is not None
    assert losses[0] is not None
    assert losses[1] < losses[0]
    assert (chosen.made, chosen.recipe.learning_rate) == (MADE, RATES[1])
    (model,) = scripted.units(study.parent / "store", Stage.MODEL).values()
    assert set(model.made_from) == {str(done.key), str(other.key)}
    assert run(["weights", str(study), "--arm", "first-tuned", "--to", str(tmp_path)]) == 0
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert sha256 == other.content["adapter"][weights.name]["sha256"]
    card = " ".join((tmp_path / "README.md").read_text().split())
    assert (
        "Chosen from 2 trainings (learning rate 1e-06, 0.004) by the lowest held-out loss" in card
    )
    assert "| learning_rate | 0.004 |" in card


def test_a_value_that_is_added_trains_the_new_ones_alone(study: Path) -> None:
    """Runs after the test above."""
    more = bench(study, learning_rate=[2e-3, *RATES], rank=[16])
    survey = more.survey(Stage.ADAPTER, Stage.MODEL)
    assert [key.id for key in survey.owed(Stage.ADAPTER)] == ["first-tuned-lr0.002"]
    assert len(survey.owed(Stage.MODEL)) == 1, "it may be another one"
    fewer = bench(study, learning_rate=RATES[1:])
    assert not fewer.survey(Stage.ADAPTER).owed(Stage.ADAPTER)


def test_an_adapter_that_comes_out_as_before_leaves_its_model_published(study: Path) -> None:
    """Runs after the tests above."""
    there = bench(study)
    latest = f"rehearsal/models/{published_name(there.study, MADE)}/latest.json"
    unit = candidates_of(there, MADE)[0].adapter
    assert there.store.read(latest)
    there.store.set_aside(str(unit.key), seen=unit.to_bytes())
    assert run(["train", str(study)]) == 0
    assert candidates_of(there, MADE)[0].adapter.digest == unit.digest
    assert there.store.read(latest)
    assert not list(there.store.list("rehearsal/checkpoints/"))


def diverges(*_: object) -> None:
    raise Diverged("learning_rate: expected finite losses; at step 3 it is nan")


def without_a_number(*_: object) -> SimpleNamespace:
    point = {"step": 6, "epoch": 2.0, "loss": {"held_out": None}}
    return SimpleNamespace(metrics={"measured": [point], "kept": {"step": 6, "epoch": 2.0}})


@pytest.mark.parametrize(("how", "rate"), [(diverges, 5.0), (without_a_number, 6.0)])
def test_a_candidate_that_diverges_is_no_choice_and_ends_nothing(
    how: Callable[..., Any],
    rate: float,
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Runs after the tests above."""
    monkeypatch.setattr(stage, "_tuned", how)
    field = "models.first.recipe.search.learning_rate"
    more, only = [rate, *RATES], [rate]
    assert run(["train", str(study), "--set", f"{field}={more}"]) == 0
    survey = bench(study, learning_rate=more).survey(Stage.ADAPTER, Stage.MODEL)
    assert survey.reasons(Stage.ADAPTER) == {"diverged": 1}
    assert survey.counts(Stage.MODEL) == {State.OWED: 1}

    for command in ("train", "export"):
        assert run([command, str(study), "--set", f"{field}={only}"]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{field}: expected one with which losses stay numbers; they did in none of " in said
        assert said.endswith(" --model first --retry-rejected")
    lost = bench(study, learning_rate=only).survey(Stage.MODEL)
    assert lost.counts(Stage.MODEL) == {State.NOT_REACHED: 1}
