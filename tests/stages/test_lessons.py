"""Which sessions a judge learns from, and which it never rates; nothing is trained here."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import outcome, run
from cbt_ray.analysis.scores import Scores
from cbt_ray.errors import BelowMinimum, InputError, PeopleAwaited
from cbt_ray.stages.held import Held
from cbt_ray.stages.lessons import make_lessons
from cbt_ray.stages.scores import score_rows
from cbt_ray.study import load_study
from cbt_ray.study.lesson import patient_of, split_of
from cbt_ray.study.model import Checkpoint
from cbt_ray.unit import Stage, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.survey import State
from tests.stages import scripted
from tests.stages.taught import write_rated

pytestmark = pytest.mark.slow
BASE = Path(scripted.EMBEDDED)


def bench_of(file: Path) -> Bench:
    return Bench(load_study(file), Silent(), inline=True)


def changed(file: Path, **changes: Any) -> Path:
    document = yaml.safe_load(file.read_text())
    for field, value in changes.items():
        place = document
        *way, last = field.split("__")
        for name in way:
            place = place[name]
        place[last] = value
    file.write_text(yaml.safe_dump(document))
    return file


def examples(bench: Bench, name: str) -> list[dict[str, Any]]:
    unit = bench.store.get(bench.keys.learners["reader"])
    assert isinstance(unit, Unit)
    text = bench.store.read(unit.content["files"][name]["path"])
    return [json.loads(line) for line in (text or b"").splitlines()]


def test_patients_are_learned_from_or_held_out_and_rated_accordingly(tmp_path: Path) -> None:
    bench = bench_of(write_rated(tmp_path, BASE, 10, {}))
    make_lessons(bench, "reader")
    split = split_of(bench.study, "reader")
    assert (len(split.train), len(split.held_out)) == (6, 4)
    for name, patients in (("train", split.train), ("held_out", split.held_out)):
        assert {one["patient"] for one in examples(bench, f"{name}.jsonl")} == patients
    sessions = bench.keys.sessions()
    known = {one for one in sessions if not bench.keys.knows("learned", one)}
    assert {patient_of(one.id) for one in known} == split.held_out
    rated = [key.id for key in bench.keys.ratings()]
    assert sum(".learned." in one for one in rated) == 4
    assert sum(".as-it-was." in one for one in rated) == 10


def test_plan_and_status_say_whom_the_judge_never_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rated(tmp_path, BASE, 10, {})
    for command in ("plan", "status"):
        capsys.readouterr()
        assert run([command, str(file)]) == 0
        said = capsys.readouterr().out
        assert "raters.learned: learns from ratings of 6 patients, whom it never rates, and" in said
    assert run(["plan", str(file), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["stages"]["ratings"]
    assert planned["calls"] == 4 + 10


def test_a_judge_that_failed_its_gate_costs_no_therapist_a_point(tmp_path: Path) -> None:
    bench = bench_of(write_rated(tmp_path, BASE, 10, {}))
    make_lessons(bench, "reader")
    key = bench.keys.model(Checkpoint("reader", tuned=True))
    made_from = bench.survey(Stage.DATASET).record(key)
    bench.store.put(Unit(key, {}, Status.REJECTED, "parity: stops", made_from=made_from))
    survey = bench.survey(Stage.SESSIONS, Stage.RATINGS)
    assert survey.counts(Stage.RATINGS)[State.NOT_REACHED] == 4
    rows = score_rows(bench, survey, Held(bench, survey))
    reasons = Counter(row.reason for row in rows if row.judge == "learned")
    assert reasons == {"learned_from": 6, "judge_failed:not_trained": 4}
    assert not any(Scores.of(rows).sessions("plain", "learned")["lost"])


def test_no_probe_shows_a_patient_that_the_judge_learned_from(tmp_path: Path) -> None:
    file = write_rated(tmp_path, BASE, 10, {})
    probes = {"which": ["empty", "swapped"], "sessions": 4}
    changed(file, raters__learned__probes=probes)
    bench = bench_of(file)
    held_out = split_of(bench.study, "reader").held_out
    shown = {one.id for pair in bench.keys.donors.items() for one in pair if one}
    assert shown
    assert {patient_of(one) for one in shown} <= held_out


def test_without_ratings_people_are_awaited_and_the_judge_is_owed(tmp_path: Path) -> None:
    file = write_rated(tmp_path, BASE, 6, {})
    manifest = file.with_name("study.imported.json")
    known = json.loads(manifest.read_text())
    known["judges"] = {}
    manifest.write_text(json.dumps(known))
    bench = bench_of(file)
    with pytest.raises(PeopleAwaited, match=r"raters\.people: people have rated 0 of 6 sessions"):
        make_lessons(bench, "reader")
    owed = bench.survey(Stage.MODEL).owed(Stage.MODEL)
    assert {key.id for key in owed} == {"reader-tuned", "reader-instruct"}
    assert {key.id for key in bench.survey(Stage.ADAPTER).owed(Stage.ADAPTER)} == {"reader-tuned"}
    code, said = outcome(["train", str(file), "--model", "reader"])
    assert (code, "bring their ratings in with" in said) == (2, True)


def test_one_rated_patient_is_too_few(tmp_path: Path) -> None:
    file = changed(write_rated(tmp_path, BASE, 1, {}), raters__people__sessions="some")
    with pytest.raises(BelowMinimum, match="ratings of at least two patients, found those of 1"):
        make_lessons(bench_of(file), "reader")


def test_an_answer_that_the_judge_may_not_give_is_no_example(tmp_path: Path) -> None:
    file = changed(
        write_rated(tmp_path, BASE, 6, {}), raters__learned__justification_chars=[30, 90]
    )
    with pytest.raises(InputError, match=r"raters.learned.justification_chars: .* found 6 answers"):
        make_lessons(bench_of(file), "reader")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody who rates": (
        {"models__reader__learns": {"ratings": "crew"}},
        "models.reader.learns.ratings: expected one of the raters that are people, ['people'], "
        "found crew",
    ),
    "a model that learns nothing": (
        {"models__reader__learns": None},
        "raters.learned.tuned: expected a model that learns from ratings (models.reader)",
    ),
    "an endpoint of its own": (
        {"raters__learned__endpoint": "server"},
        "raters.learned.endpoint: expected one with `gguf: finetuned`, since it has a model",
    ),
    "other scales than people": (
        {"raters__learned__scales": ["ctrs"]},
        "raters.learned.scales: expected ['thoughts'], as raters.people has it",
    ),
    "two that are the same": (
        {"raters__as-it-was__tuned": True},
        "raters.learned.tuned: expected one rater that is reader, as-it-was is it",
    ),
    "an unknown model": (
        {"raters__learned__model": "other"},
        "raters.learned.model: unknown model 'other', expected one of ['reader']",
    ),
    "several seeds": (
        {"models__reader__seeds": 2},
        "models.reader.seeds: expected 1, since it learns from ratings, found 2",
    ),
    "a therapist": (
        {"arms": [{"name": "bot", "model": "reader", "tuned": True, "endpoint": "own"}]},
        "arms.0.model: expected one that learns from courses, not reader",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_when_it_is_read(name: str, tmp_path: Path) -> None:
    changes, said = REFUSED[name]
    file = changed(write_rated(tmp_path, BASE, 4, {}), **changes)
    code, problems = outcome(["check", str(file)])
    assert code == 2
    assert said in problems
