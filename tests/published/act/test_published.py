"""The importer on the published part: counted another way, and the figures of the publication
recomputed from what its judge wrote.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from cbt_ray.__main__ import outcome
from cbt_ray.analysis.effect.repeated import ComparedMeasure, repeated
from cbt_ray.prompts import Prompts
from cbt_ray.published.act.publication import Published, Therapist, read_published
from cbt_ray.published.act.repository import open_repository
from cbt_ray.published.act.transcript import Simulated
from cbt_ray.published.act.variant import VARIANTS
from cbt_ray.rating.scale import joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.study import load_study
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.survey import State
from tests.published.act.clone import NO_ANSWER, published

FULL = re.compile(r"simulation_(\d+)_full_transcript\.txt")


@pytest.fixture(scope="module")
def read() -> Published:
    return read_published(open_repository(published()))


def files() -> list[Path]:
    """Every full transcript that is here."""
    return [file for file in published().rglob("*.txt") if FULL.fullmatch(file.name)]


def test_all_ratings_are_there(read: Published) -> None:
    assert [len(one.ratings) for one in read.therapists] == [150] * 6
    scores = sum(len(judged.scores) for one in read.therapists for judged in one.ratings.values())
    assert scores == 30_600
    assert len(read.profiles) == 150
    lost = [remark.reason for remark in read.remarks if remark.lost]
    assert all(reason.endswith("whose transcripts are not here") for reason in lost)


def test_exactly_one_rating_was_misread(read: Published) -> None:
    assert read.compared == 900
    (found,) = read.differences
    assert "tes 2.667 here, 5.889 in the judge's text" in found.reason
    place = re.search(r"text, (.*/llama3_3b_instruct/eval_session_46\.txt):(\d+)", found.reason)
    assert place
    line = (published() / place[1]).read_text().splitlines()[int(place[2]) - 1]
    assert line == "<Therapist_Empathy_Scale>"
    table = published().with_name("act_scores.csv")
    if table.is_file():
        row = table.read_text().splitlines()[found.line - 1]
        assert row.startswith("46,llama3_3b_instruct,")


def test_archetype_and_style_are_one_variable(read: Published) -> None:
    both = Counter((one.archetype, one.style) for one in read.profiles.values())
    assert sorted(both.values()) == [31, 32, 36, 51]
    assert len({archetype for archetype, _ in both}) == len({style for _, style in both}) == 4


@pytest.fixture(scope="module")
def measures(read: Published) -> pd.DataFrame:
    """Every measure of every rating, from the judge's texts."""
    scale = joined(load_scales(Prompts(), ("act-fm", "tes")))
    return pd.DataFrame(
        {
            "patient": number,
            "arm": one.variant.arm,
            **{name: value.value for name, value in scale.values(dict(judged.scores)).items()},
        }
        for one in read.therapists
        for number, judged in one.ratings.items()
    )


def compared(measures: pd.DataFrame, name: str) -> ComparedMeasure:
    arms = [variant.arm for variant in VARIANTS]
    return repeated(measures, "patient", "arm", [name], conditions=arms).measures[0]


@pytest.mark.parametrize(
    ("measure", "chi2"),
    [
        ("act-fm.total_consistency", "185.150"),
        ("tes.total_empathy_mean", "142.172"),
        ("act-fm.total_inconsistency", "152.156"),
    ],
)
def test_the_therapists_differ(measure: str, chi2: str, measures: pd.DataFrame) -> None:
    found = compared(measures, measure)
    assert found.omnibus is not None
    assert (f"{found.omnibus.chi2:.3f}", found.omnibus.df, found.n) == (chi2, 5, 900)


def test_what_reasoning_adds_to_sft(measures: pd.DataFrame) -> None:
    pairs = compared(measures, "act-fm.total_consistency").pairs
    (pair,) = (one for one in pairs if (one.a, one.b) == ("sft-reasoning", "sft-answer"))
    assert pair.estimate == pytest.approx(2.675)
    assert f"{pair.wald.p_adjusted:.5f}" == "0.00033"


def test_sessions_agree_with_an_independent_count(read: Published) -> None:
    """Complete ones and marks of missed forms, by the words of the files alone."""
    complete, turns, sessions = Counter[str](), Counter[str](), Counter[str]()
    for file in files():
        text, variant = file.read_text(), file.parent.name.removeprefix("simulation_outputs_")
        marks = len(re.findall(r"^\[Thinking (?:and Answer|not properly).*missing\]$", text, re.M))
        turns[variant] += marks
        sessions[variant] += bool(marks)
        last = text[text.rindex("\n--- Turn ") :]
        complete[variant] += "--- Turn 25 ---" in last and "\n\nPatient: " in last
    for one in read.therapists:
        missed = [[how for how in s.missed if how != "no_answer"] for s in held(one)]
        assert sum(map(len, missed)) == turns[one.variant.folder]
        assert sum(map(bool, missed)) == sessions[one.variant.folder]
        stops = Counter(session.stop.value for session in held(one))
        assert stops["max_messages"] == complete[one.variant.folder]
    assert sum(complete.values()) >= len(read.therapists)


def held(one: Therapist) -> list[Simulated]:
    return [file.session for file in one.sessions.values()]


def test_no_turn_holds_a_mark_of_the_public_code(read: Published) -> None:
    for one in read.therapists:
        for file in one.sessions.values():
            for turn in file.session.turns:
                said = "\n".join((turn.text, *(text for _, text in turn.hidden)))
                assert not re.search(r"^--- |^Therapist (Thinking|Answer):|SYSTEM INJ", said, re.M)
                assert NO_ANSWER not in said
                assert "keywords missing]" not in said


def test_thoughts_are_hidden_where_the_arm_reasons(read: Published) -> None:
    for one in read.therapists:
        for file in one.sessions.values():
            for turn in file.session.turns:
                own = turn.speaker is Speaker.THERAPIST and one.variant.reasoning
                assert bool(turn.hidden) == (own and turn.missed is None)


def test_the_study(tmp_path: Path) -> None:
    study, runs = tmp_path / "act.yaml", tmp_path / "runs"
    command = ["import", "act", str(published()), str(study), "--set", f"store={runs}"]
    assert outcome(command) == (0, "")
    bench = Bench(load_study(study, {"store": str(runs)}), Silent(), inline=True)
    done = len(files())
    counts = bench.survey(Stage.SESSIONS).counts(Stage.SESSIONS)
    assert (counts[State.DONE], counts.total()) == (done, 900)
    assert bench.survey(Stage.RATINGS).counts(Stage.RATINGS) == {State.DONE: done}
    table = published().with_name("act_scores.csv")
    with table.open(newline="") as file:
        rows = {(row["model_type"], row["session_id"]): row for row in csv.DictReader(file)}
    folders = {variant.arm: variant.folder for variant in VARIANTS}
    for _, unit in bench.store.get_many(bench.keys.imported_ratings()):
        assert unit is not None
        arm, patient, *_ = unit.content["session"].split("/")[2].split(".")
        row = rows[folders[arm], patient.removeprefix("profile-")]
        found = unit.content["measures"]["act-fm.total_consistency"]["value"]
        assert found == pytest.approx(float(row["act_fm_total_consistency"]))
    for _, unit in bench.store.get_many(bench.keys.all()[Stage.SESSIONS]):
        if unit and unit.content.get("turns"):
            source = published() / unit.provenance["imported"]["source"]["file"]
            said = "\n".join(turn.text for turn in Session.from_json(unit.content).turns)
            clean = source.with_name(source.name.replace("full_transcript", "clean_dialogue"))
            assert words(said) == words(clean.read_text()) or unit.content.get("details")
    assert json.loads((tmp_path / "act.imported.json").read_text())["mapping"] == "act"


def words(text: str) -> list[str]:
    """The words of a dialogue without the labels of its speakers."""
    return re.sub(r"(?m)^(Patient|Therapist): ?", "", text).split()
