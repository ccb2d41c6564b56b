"""`import act` on a made-up clone: what lies in the store then, what is said of what is missing,
and what the analysis makes of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import outcome
from cbt_ray.stages.analyse import analyse_scores
from cbt_ray.study import load_study
from cbt_ray.therapy.session import Session
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.survey import State
from tests.published.act.clone import (
    EVALUATIONS,
    NO_FORM,
    TABLE,
    VARIANTS,
    dialogue,
    exchange,
    judged,
    score_row,
    transcript,
    whole,
    write_clone,
    write_table,
)

pytestmark = pytest.mark.slow
TEXTS = f"{EVALUATIONS}/full_text_evaluations"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "clone"


def run(*arguments: object) -> tuple[int, str]:
    return outcome([str(argument) for argument in arguments])


def said(capsys: pytest.CaptureFixture[str], clone: Path, study: str = "act.yaml") -> list[str]:
    assert run("import", "act", clone, study) == (0, "")
    return capsys.readouterr().out.splitlines()


def bench_of(study: str = "act.yaml", **overrides: Any) -> Bench:
    return Bench(load_study(Path(study), overrides), Silent(), inline=True)


def unit_of(bench: Bench, stage: Stage, name: str) -> Unit:
    unit = bench.store.get(next(key for key in bench.keys.all()[stage] if key.id == name))
    assert unit is not None
    return unit


def test_a_whole_clone(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missed = transcript(exchange(1, "So?", "Goal."), exchange(2, "Well.", NO_FORM))
    write_clone(clone, sessions={"sft/2": missed, "sft/1": whole("Goal: ask.")})
    lines = said(capsys, clone)
    assert lines[:2] == [
        "found 12 sessions of 6 therapists with 2 patients, 12 ratings with 408 item scores",
        "instruct-reasoning: 2 sessions; 2 with all 51 messages",
    ]
    assert lines[3] == (
        "sft-reasoning: 2 sessions; 1 with all 51 messages; 1 turn in 1 session marked as "
        "missing the form"
    )
    assert lines[7].startswith(
        "archetype_name and interaction_style_name are one variable of 2 levels"
    )
    assert lines[8] == "the published table differs from judge's texts in 0 of 12"
    bench = bench_of()
    for stage in (Stage.SESSIONS, Stage.RATINGS):
        assert bench.survey(stage).counts(stage) == {State.DONE: 12}
    unit = unit_of(bench, Stage.SESSIONS, "sft-reasoning.profile-2.r1.s01")
    session = Session.from_json(unit.content)
    assert [turn.missed for turn in session.turns] == [None, None, None, "no_form", None]
    assert session.turns[1].hidden == (("thinking", "Goal."),)
    assert unit.content["stop"] == "other"
    assert unit.provenance["imported"]["source"]["file"] == (
        "simulation_outputs_sft/simulation_2_full_transcript.txt"
    )
    rating = unit_of(bench, Stage.RATINGS, "orpo-answer.profile-1.r1.s01.published.plain.j1")
    assert rating.content["measures"]["tes.total_empathy_mean"]["value"] == 3
    assert rating.content["measures"]["act-fm.total_inconsistency"]["value"] == 12
    study = bench.study
    assert study.patients.simulated[1].profile.startswith("You are patient 2,")
    levels = [dict(arm.factors) for arm in study.arms]
    assert levels[0] == {"training": "instruct", "reasoning": "yes"}
    assert levels[5] == {"training": "orpo", "reasoning": "no"}
    again = said(capsys, clone)
    assert any("12 units, 0 of them new" in line for line in again)


def test_every_outcome_is_compared_within_patients(clone: Path) -> None:
    write_clone(clone, patients=3)
    assert run("import", "act", clone, "act.yaml") == (0, "")
    bench = bench_of()
    analyse_scores(bench)
    unit = bench.store.get(bench.keys.analysis())
    assert unit is not None
    found = unit.content["analysis"]
    assert [(row["measure"], row["n"]) for row in found["repeated"]["measures"]] == [
        ("total", 18),
        ("tes.total_empathy_mean", 18),
        ("act-fm.total_inconsistency", 18),
        ("form.missed", 18),
    ]
    means = {row["condition"]: row["mean"] for row in found["repeated"]["measures"][1]["means"]}
    assert means["orpo-answer"] == pytest.approx(4)  # 3, 4 and 5
    assert found["claims"]["reason"] == "they were made on 900 ratings, of which 18 are here"


def test_the_judges_text_counts_and_the_tables_error_is_named(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clone(clone)
    (clone / TEXTS / "orpo" / "eval_session_2.txt").write_text(judged(empathy=6, tes_9=3))
    rows = [score_row("orpo", 2, 2, 2), score_row("orpo", 1, 0, 2), score_row("other", 1, 0, 0)]
    write_table(clone / TABLE, rows)
    lines = said(capsys, clone)
    assert lines[8:10] == [
        "the published table differs from judge's texts in 1 of 2",
        f"{TABLE}:2: mean of tes 2.000 here, 5.667 in the judge's text, "
        f"{TEXTS}/orpo/eval_session_2.txt:28, which counts",
    ]
    assert sum("mean of tes" in line for line in lines) == 1
    assert lines[9] in Path("act.published/remarks.txt").read_text()
    rating = unit_of(
        bench_of(), Stage.RATINGS, "orpo-reasoning.profile-2.r1.s01.published.plain.j1"
    )
    assert rating.content["measures"]["tes.total_empathy_mean"]["value"] == pytest.approx(51 / 9)


def test_what_is_missing_is_counted(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clone(clone, patients=3)
    sessions = clone / "simulation_outputs_orpo"
    for number in (2, 3):
        (sessions / f"simulation_{number}_full_transcript.txt").unlink()
    (clone / TEXTS / "sft" / "eval_session_1.txt").unlink()
    (clone / TABLE).unlink()
    lines = said(capsys, clone)
    assert "orpo-reasoning: 1 session, 2 absent; 1 with all 51 messages" in lines
    lacking = (
        f"{sessions.name}/simulation_2_clean_dialogue.txt: not imported: session 2 has no full"
    )
    assert f"{lacking} transcript" in lines
    assert "orpo: not imported: 2 ratings of sessions whose transcripts are not here" in lines
    assert not any("published table" in line for line in lines)
    bench = bench_of()
    survey = bench.survey(Stage.SESSIONS)
    assert survey.counts(Stage.SESSIONS) == {State.DONE: 16, State.REJECTED: 2}
    assert survey.reasons(Stage.SESSIONS) == {"absent": 2}
    assert bench.survey(Stage.RATINGS).counts(Stage.RATINGS) == {State.DONE: 15}


def test_each_fault_of_the_layout_is_named(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clone(clone)
    sft, texts = clone / "simulation_outputs_sft", clone / TEXTS / "sft"
    (clone / "simulation_outputs_dpo").mkdir()
    (sft / "notes.txt").write_text("mine")
    (sft / "simulation_run.log").write_text("theirs")
    (sft / "simulation_1_full_transcript.txt").write_bytes(b"--- Turn 0\n\xff")
    (sft / "simulation_2_clean_dialogue.txt").write_text("Patient: Something else.")
    (sft / "simulation_2_patient_profile.txt").write_text('head\n{"profile_hash": "other"}')
    (texts / "eval_session_1.txt").write_text("I will not.")
    (texts / "eval_session_two.txt").write_text(judged())
    (texts / "eval_session_2.txt").write_text(judged(act_3=9))
    (clone / "earlier_evaluations" / "full_text_evaluations").mkdir(parents=True)
    (clone / TABLE).write_text("session_id,model_type\n1,sft\n")
    lines = said(capsys, clone)
    for line in (
        "simulation_outputs_dpo: not imported: expected one of the variants " + ", ".join(VARIANTS),
        "simulation_outputs_sft/notes.txt: not imported: expected a name such as "
        "simulation_1_full_transcript.txt",
        "simulation_outputs_sft/simulation_1_full_transcript.txt:2: not imported: expected UTF-8 "
        "(invalid start byte)",
        f"{TEXTS}/sft/eval_session_two.txt: not imported: expected a name such as "
        "eval_session_1.txt",
        f"{TEXTS}/sft/eval_session_1.txt: not imported: expected lines such as "
        "`item_1: Rating: 2`, found none",
        f"earlier_evaluations: not imported: there is a later folder of judge's texts, "
        f"{EVALUATIONS}",
        f"{TABLE}:1: not imported: expected a table with the column act_fm_item_1",
        "imported, but its judge read other words than the full transcript has: 1",
        "imported, but its profile is not the one of its number: 1",
        "imported, but act-fm.item_3: expected 0 to 3, found 9: 1",
    ):
        assert line in lines, line
    assert not any("simulation_run.log" in line for line in lines)
    rating = unit_of(bench_of(), Stage.RATINGS, "sft-reasoning.profile-2.r1.s01.published.plain.j1")
    assert rating.content["items"]["act-fm.item_3"]["reason"] == "out_of_scale"
    total = rating.content["measures"]["act-fm.total_consistency"]
    assert (total["value"], total["reason"]) == (None, "item_missing")


@pytest.mark.parametrize(
    ("profiles", "line"),
    [
        ("{", "standardized_patient_profiles.json: not imported: expected JSON"),
        ("{}", "standardized_patient_profiles.json:1: not imported: expected a list of profiles"),
        (
            '[{"archetype_name": "The Doubter"}]',
            "standardized_patient_profiles.json: not imported: profile 1: expected a field "
            "profile_summary_for_prompt with text",
        ),
        (None, None),
    ],
)
def test_sessions_without_profiles(
    profiles: str | None, line: str | None, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clone(clone, variants=("sft",))
    file = clone / "standardized_patient_profiles.json"
    file.unlink() if profiles is None else file.write_text(profiles)
    lines = said(capsys, clone)
    assert lines[0].startswith("found 2 sessions of 1 therapist with 2 patients")
    assert line is None or any(one.startswith(line) for one in lines)
    (first, _) = bench_of().study.patients.simulated
    assert first.profile.startswith("Imported: the profile of this patient was not found")
    assert bench_of().study.contrasts == ()


def test_profiles_whose_style_varies_within_an_archetype_are_two_variables(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clone(clone, patients=3, variants=("sft",))
    file = clone / "standardized_patient_profiles.json"
    profiles = json.loads(file.read_text())
    profiles[0] |= {"interaction_style_name": "Doubting", "archetype_name": "A\n  b: \u2028{\0"}
    file.write_text(json.dumps(profiles))
    assert "are two variables" in " ".join(said(capsys, clone))
    assert "# A b: { : Doubting\n" in Path("act.yaml").read_text()


def test_a_clone_without_ratings_of_its_sessions_is_to_be_rated(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clone(clone, variants=("orpo", "sft"))
    for file in (clone / TEXTS / "sft").iterdir():
        file.unlink()
    for file in (clone / "simulation_outputs_orpo").iterdir():
        file.unlink()
    lines = said(capsys, clone)
    assert lines[0].startswith("found 2 sessions of 1 therapist with 2 patients, 0 ratings")
    assert "orpo: not imported: 2 ratings of sessions whose transcripts are not here" in lines
    study = bench_of().study
    assert (study.headline_judge, study.judges["judge"].replicates) == ("judge", 1)


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_without_sessions_is_refused(inside: bool, clone: Path) -> None:
    if inside:
        (clone / "simulation_outputs_sft").mkdir(parents=True)
    code, line = run("import", "act", clone, "act.yaml")
    assert code == 2
    assert "expected" in line
    assert not Path("act.yaml").exists()


def test_sessions_of_which_none_can_be_read_are_refused(clone: Path) -> None:
    write_clone(clone, variants=("sft",), patients=1, sessions={"sft/1": "A talk."})
    code, line = run("import", "act", clone, "act.yaml")
    assert (code, "expected transcripts that can be read" in line) == (2, True)


def test_the_made_up_dialogue_is_what_the_public_code_would_write() -> None:
    text = transcript(exchange(1, "So?", "Goal."), first="Grey.")
    assert dialogue(text).split() == ["Patient:", "Grey.", "Therapist:", "So?", "Patient:", "Hm."]
