"""`import cbt` on a made-up clone: what lies in the store then, what the study file says, what no
stage makes again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import outcome
from cbt_ray.stages.rate import rate_sessions
from cbt_ray.study import load_study
from cbt_ray.study.licence import published_name
from cbt_ray.study.model import Checkpoint
from cbt_ray.therapy.session import Session
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.cause import causes
from cbt_ray.work.progress import Silent
from cbt_ray.work.survey import State
from tests.published.cbt.clone import (
    FAREWELL,
    GROUPS,
    ITEMS,
    document,
    score_row,
    simulated,
    talk,
    write_clone,
    write_scores,
)

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str]]
TABLE = "Code/evaluation_results/all_scores_with_patients.csv"
NEVER_CALLED = {
    "embedded": {"kind": "llama_cpp", "gguf": "/no/such/file.gguf"},
    "exported": {"kind": "llama_cpp", "gguf": "finetuned"},
    "published": {"kind": "litellm", "model": "openai/none", "api_base": "http://127.0.0.1:9/v1"},
}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_clone(tmp_path / "clone")


def run(*arguments: object) -> tuple[int, str]:
    return outcome([str(argument) for argument in arguments])


def imported(clone: Path, *more: object, study: str = "pub.yaml") -> Path:
    assert run("import", "cbt", clone, study, *more) == (0, "")
    return Path(study)


def bench_of(study: Path, **overrides: Any) -> Bench:
    return Bench(load_study(study, overrides), Silent(), inline=True)


def unit_of(bench: Bench, stage: Stage, name: str) -> Unit:
    key = next(key for key in bench.keys.all()[stage] if key.id == name)
    unit = bench.store.get(key)
    assert unit is not None
    return unit


def states(bench: Bench, stage: Stage) -> dict[State, int]:
    return dict(bench.survey(stage).counts(stage))


# --- what lies in the store


def test_everything_is_there_and_nothing_is_owed_but_what_is_made_of_it(clone: Path) -> None:
    bench = bench_of(imported(clone))
    assert states(bench, Stage.PROFILES) == {State.DONE: 2}
    assert states(bench, Stage.COURSES) == {State.DONE: 6}
    assert states(bench, Stage.SESSIONS) == {State.DONE: 12}
    assert states(bench, Stage.RATINGS) == {State.DONE: 12}
    assert bench.keys.models == []


def test_units_hold_what_the_files_say(clone: Path) -> None:
    bench = bench_of(imported(clone))
    profile = unit_of(bench, Stage.PROFILES, "p02")
    assert profile.content["name"] == "Kim Nr2"
    assert (
        profile.content["characteristics"]["life_events"]
        == "A move; A fall (e.g., from a ladder, or a roof)"
    )
    unit = unit_of(bench, Stage.SESSIONS, "llama-tuned.ben-okri.r1.s02")
    session = Session.from_json(unit.content)
    assert (session.patient, session.number, session.phase) == ("Ben Okri", 2, "assessment")
    assert (
        session.opening
        == "Ben Okri spoke of the mornings in week 1.\n\n- Homework: count the mornings of week 1"
    )
    assert len(session.turns) == 1 + len(talk(2))
    assert unit.content["stop"] == "farewell"
    assert unit.content["details"] == r"Natural Session End: Detected end phrase: '\btake care\b'"
    source = unit.provenance["imported"]["source"]
    assert source["file"].endswith(
        "CBT_Depression_Simulations_Ben Okri/session_2_20241102_110002.txt"
    )
    assert source["sha256"] == sha256((clone / source["file"]).read_bytes()).hexdigest()
    assert "made_at" not in unit.provenance
    rating = unit_of(bench, Stage.RATINGS, "llama-tuned.ben-okri.r1.s02.published.plain.j1")
    assert rating.content["items"]["key_cognitions"] == {
        "word": "Poor",
        "score": 3,
        "justification": 'Focusing on Key Cognitions or Behaviors: because of "this"',
        "reason": None,
    }
    assert rating.content["measures"]["total"]["value"] == 33
    assert (rating.content["session"], rating.content["strip"]) == (str(unit.key), "paper")
    assert rating.provenance["imported"]["source"] == f"{TABLE}:6"
    imported_judges = bench.study.imported and bench.study.imported.judges
    assert imported_judges
    assert imported_judges["published"].complete


def test_the_key_is_the_content(clone: Path) -> None:
    before = bench_of(imported(clone)).keys.all()
    file = next((clone / "CBT_Simulations" / GROUPS[0]).glob("*Ada*/session_2_*"))
    file.write_text(file.read_text().replace("grey", "blue"))
    after = bench_of(imported(clone)).keys.all()
    changed = [
        key.id
        for stage in (Stage.COURSES, Stage.SESSIONS, Stage.RATINGS)
        for key in set(after[stage]) - set(before[stage])
    ]
    assert sorted(changed) == [
        "llama-tuned.ada-lovell.r1.s02",
        "llama-tuned.ada-lovell.r1.s02.published.plain.j1",
    ]
    assert after[Stage.ANALYSIS] != before[Stage.ANALYSIS]


def written(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """All files but the list of what was handed over, which is written anew."""
    return {
        file: (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file() and file.name != "cbt-ray.files.json"
    }


def test_importing_again_changes_nothing(
    clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = imported(clone)
    before = written(tmp_path)
    capsys.readouterr()
    imported(clone)
    assert re.findall(r"(\d+) units, (\d+) of them new", capsys.readouterr().out) == [
        ("8", "0"),
        ("12", "0"),
        ("12", "0"),
    ]
    assert written(tmp_path) == before
    assert study in {path.relative_to(tmp_path) for path in before}


def test_a_unit_that_was_lost_is_refused_until_it_is_imported_again(clone: Path) -> None:
    study = imported(clone)
    bench = bench_of(study)
    for stage, name, command in (
        (Stage.COURSES, "p01.s02", ["generate", "--inline"]),
        (Stage.COURSES, "p01.s02", ["dataset"]),
        (Stage.SESSIONS, "llama-tuned.ada-lovell.r1.s01", ["simulate", "--inline"]),
        (
            Stage.RATINGS,
            "llama-tuned.ada-lovell.r1.s01.published.plain.j1",
            ["evaluate", "--inline"],
        ),
    ):
        bench.store.delete(str(unit_of(bench, stage, name).key))
        lost = [why for entry, why in causes(bench.survey(*Stage)) if entry.key.id == name]
        assert lost == ["was imported and is no longer there, import it again"]
        code, message = run(command[0], study, *command[1:])
        assert code == 2
        assert message.startswith(f"cbt-ray: pub.yaml: imported: expected {stage} {name} in ")
        imported(clone)


# --- what no stage makes


def test_no_stage_calls_a_model_or_opens_a_gguf(clone: Path) -> None:
    study = imported(clone)
    text = yaml.safe_load(study.read_text())
    study.write_text(yaml.safe_dump({**text, "endpoints": NEVER_CALLED}))
    for command in (
        ["plan"],
        ["status"],
        ["generate", "--inline"],
        ["dataset"],
        ["simulate", "--inline"],
        ["data", "--to", "out"],
    ):
        assert run(command[0], study, *command[1:]) == (0, "")
    assert states(bench_of(study), Stage.DATASET) == {State.DONE: 1}
    assert run("study", study, "--inline") == (0, "")
    assert states(bench_of(study), Stage.REPORT) == {State.DONE: 1}
    assert not list(Path("runs").rglob("usage/*/probe*"))


def test_retry_rejected_leaves_imported_units_alone(clone: Path) -> None:
    next((clone / "CBT_Simulations" / GROUPS[0]).glob("*Ada*/session_2_*")).unlink()
    study = imported(clone)
    assert run("simulate", study, "--inline", "--retry-rejected") == (0, "")
    assert bench_of(study).survey(Stage.SESSIONS).reasons(Stage.SESSIONS) == {"absent": 1}


def test_what_is_not_there_is_absent_and_never_owed(clone: Path) -> None:
    next((clone / "CBT_Simulations" / GROUPS[0]).glob("*Ada*/session_1_*")).unlink()
    (clone / "Synthetic_Transcripts" / "depression_set_1" / "session_2.json").unlink()
    bench = bench_of(imported(clone))
    assert states(bench, Stage.SESSIONS) == {State.DONE: 11, State.REJECTED: 1}
    assert states(bench, Stage.COURSES) == {State.DONE: 5, State.REJECTED: 1}
    assert states(bench, Stage.RATINGS) == {State.DONE: 11}
    owed = bench_of(Path("pub.yaml"), **{"raters.judge.replicates": 1}).survey(Stage.RATINGS)
    assert owed.counts(Stage.RATINGS) == {State.DONE: 11, State.OWED: 11, State.NOT_REACHED: 1}


def test_one_therapist_alone_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = load_study(imported(write_clone(tmp_path / "clone", groups=GROUPS[:1])))
    assert (study.analysis.contrasts, study.contrasts) == ((), ())


def test_an_own_arm_is_trained_on_imported_courses(clone: Path) -> None:
    study = imported(clone)
    text = document(study)
    text["arms"] = [*text["arms"], {"name": "mine", "model": "llama", "tuned": True}]
    study.write_text(yaml.safe_dump(text))
    bench = bench_of(study)
    assert bench.keys.models == [Checkpoint("llama", True)]
    assert published_name(bench.study, Checkpoint("llama", True)) == "Llama-pub-llama-tuned"
    counts = states(bench, Stage.SESSIONS)
    assert counts == {State.DONE: 12, State.OWED: 6}
    code, message = run("simulate", study, "--inline")
    assert (code, message) == (
        1,
        "cbt-ray: sessions: adapter still owes 1 unit, first llama-tuned; run first: cbt-ray train "
        f"{study}",
    )


def test_a_copy_of_the_study_file_with_the_manifest_in_it_derives_the_same_keys(
    clone: Path,
) -> None:
    """As a ConfigMap holds it, which knows no other files."""
    bench = bench_of(imported(clone))
    copy = Path("copy.yaml")
    copy.write_text(yaml.safe_dump(bench.study.model_dump(mode="json", exclude_none=True)))
    assert bench_of(copy).keys.all() == bench.keys.all()


# --- the own judge


def test_the_own_judge_rates_imported_sessions_but_none_without_a_therapist(clone: Path) -> None:
    folder = next((clone / "CBT_Simulations" / GROUPS[0]).glob("*Ada*"))
    (folder / "session_3_20241102_100003.txt").write_text(
        simulated(3, "Ada Lovell", [], reason="Critical Error", details="RetryError")
    )
    study = imported(clone)
    text = document(study)
    text |= {
        "endpoints": {name: {"kind": "scripted"} for name in ("embedded", "exported", "published")},
        "analysis": {},
    }
    own = {"replicates": 1, "strip": "summary", "justification_chars": [10, 60]}
    text["raters"]["judge"] |= own
    study.write_text(yaml.safe_dump(text))
    rate_sessions(bench_of(study))
    survey = bench_of(study).survey(Stage.RATINGS)
    assert survey.counts(Stage.RATINGS) == {State.DONE: 23, State.REJECTED: 1}
    assert survey.reasons(Stage.RATINGS) == {"nothing_to_rate": 1}


# --- the study file


def test_the_study_file_is_complete_and_says_what_was_found(clone: Path) -> None:
    found = document(imported(clone))
    assert found["study"] == "pub"
    assert found["imported"] == "pub.imported.json"
    assert found["analysis"] == {"judge": "published"}
    assert found["sessions"]["stop"] == [{"rule": "farewell", "phrases": ["take care"]}]
    assert found["patients"]["training"]["characteristics"]["coping"] == {"Walks": 2}
    study = load_study("pub.yaml")
    assert [(arm.name, arm.model, arm.kind) for arm in study.arms] == [
        ("llama-instruct", "llama", "instruct"),
        ("llama-tuned", "llama", "tuned"),
    ]
    assert (
        study.patients.training.count,
        study.sessions.count,
        study.courses.sessions,
        study.judge.replicates,
    ) == (2, 3, 3, 0)


@pytest.mark.parametrize("parts", [{"sets": 0}, {"groups": ()}])
def test_a_part_of_a_clone_is_enough(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bench = bench_of(imported(write_clone(tmp_path / "part", **parts)))
    owed = {
        stage: count
        for stage in (Stage.PROFILES, Stage.COURSES)
        if (count := states(bench, stage).get(State.OWED))
    }
    assert owed == {}
    if "groups" in parts:
        assert [arm.name for arm in bench.study.arms] == ["smollm2-instruct", "smollm2-tuned"]
        assert bench.keys.models == [Checkpoint("smollm2", False), Checkpoint("smollm2", True)]
        assert run("dataset", "pub.yaml") == (0, "")
    else:
        assert states(bench, Stage.SESSIONS) == {State.DONE: 12}


def test_without_score_tables_the_own_judge_is_to_rate(clone: Path) -> None:
    (clone / "Code" / "evaluation_results" / "all_scores_with_patients.csv").unlink()
    study = load_study(imported(clone))
    assert (
        study.judge.replicates,
        study.headline_judge,
        study.imported and dict(study.imported.judges),
    ) == (1, "judge", {})


def test_scores_from_elsewhere(clone: Path, tmp_path: Path) -> None:
    own = clone / "Code" / "evaluation_results" / "all_scores_with_patients.csv"
    own.rename(tmp_path / "clone_scores.csv")
    assert states(bench_of(imported(clone)), Stage.RATINGS) == {State.DONE: 12}
    (tmp_path / "clone_scores.csv").rename(tmp_path / "mine.csv")
    assert states(
        bench_of(imported(clone, "--scores", "mine.csv", study="other.yaml")), Stage.RATINGS
    ) == {State.DONE: 12}


def edited(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def edit(text: dict[str, Any]) -> None:
        for way, value in changes.items():
            *path, last = way.split("__")
            node = text
            for part in path:
                node = node[part]
            if value is ...:
                del node[last]
            else:
                node[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (edited(imported=...), "imported: expected the line `imported: pub.imported.json`, add it"),
        (edited(imported={}), "imported: expected the name of a JSON file"),
        (
            edited(
                arms=[{"name": "mine", "model": "llama", "tuned": True}], analysis__contrasts=[]
            ),
            "arms: expected 'llama-tuned', whose sessions were found; there are ['mine']",
        ),
        (
            edited(patients__simulated=[{"name": "Someone Else", "profile": "x" * 50}]),
            "patients.simulated: expected 'Ada Lovell', whose",
        ),
        (edited(sessions__count=2), "sessions.count: expected at least 3, it is 2"),
        (
            edited(patients__training__count=1),
            "patients.training.count: expected at least 2, it is 1",
        ),
        (edited(courses__sessions=2), "courses.sessions: expected at least 3, it is 2"),
        (edited(sead=1), "sead: unknown field, expected seed"),
    ],
)
def test_a_study_file_that_does_not_fit_is_refused(
    edit: Callable[[dict[str, Any]], None], expected: str, clone: Path, tmp_path: Path
) -> None:
    study = imported(clone)
    text = document(study)
    edit(text)
    study.write_text(yaml.safe_dump(text))
    before = study.read_text()
    code, message = run("import", "cbt", clone, study)
    assert code == 2
    assert message.startswith(f"cbt-ray: pub.yaml: {expected}")
    assert study.read_text() == before


def test_a_larger_study_file_is_filled_as_far_as_it_goes(clone: Path) -> None:
    study = imported(clone)
    text = document(study)
    text["sessions"]["count"] = 4
    text["patients"]["training"]["count"] = 3
    text["patients"]["simulated"].append(
        {"name": "Cleo Third", "profile": "Nobody was simulated with her, so she is absent."}
    )
    study.write_text(yaml.safe_dump(text))
    imported(clone)
    assert states(bench_of(study), Stage.SESSIONS) == {
        State.DONE: 12,
        State.REJECTED: 2 * 2 + 2 * 4,
    }
    assert states(bench_of(study), Stage.PROFILES) == {State.DONE: 2, State.REJECTED: 1}
    assert states(bench_of(study), Stage.COURSES) == {State.DONE: 6, State.REJECTED: 3}


# --- what cannot be read


def test_what_cannot_be_read_is_said_and_the_rest_imported(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulations, sets = clone / "CBT_Simulations", clone / "Synthetic_Transcripts"
    ada = simulations / GROUPS[0] / "CBT_Depression_Simulations_Ada Lovell"
    (ada / "session_1_20241102_100001.txt").write_bytes(b"Session Number: 1\n\nPatient: \xff\xfe\n")
    (ada / "session_2_20241102_100002.txt").write_text(" \n")
    (ada / "session_3_20241102_110000.txt").write_text(
        simulated(3, "Ada Lovell", talk(3), **FAREWELL)
    )
    (ada / "notes.txt").write_text("my notes")
    (ada / ".DS_Store").write_text("")
    (simulations / "Gemma_Something").mkdir()
    (simulations / "Gemma_Something" / "CBT_Depression_Simulations_X").mkdir()
    (
        simulations / "Gemma_Something" / "CBT_Depression_Simulations_X" / "session_1_1.txt"
    ).write_text("Session Number: 1\n\nPatient: Hi.\n")
    (sets / "depression_set_1" / "session_1.json").write_text(
        '{"transcript": "Patient: Hi.",\n "word_count": }'
    )
    (sets / "depression_set_2" / "patient_profile.json").write_text('{"profile": ""}')
    scores = clone / "Code" / "evaluation_results"
    (scores / "other.csv").write_text("model,mean\nLlama,3\n")
    code, message = run("import", "cbt", clone, "pub.yaml")
    assert (code, message) == (0, "")
    said = capsys.readouterr().out.splitlines()
    where = "CBT_Simulations/Llama_Finetune_Simulation_Nov_6/CBT_Depression_Simulations_Ada Lovell"
    for line in (
        f"{where}/session_1_20241102_100001.txt:3: not imported: expected UTF-8 (invalid start "
        "byte)",
        f"{where}/session_2_20241102_100002.txt: not imported: is empty",
        f"{where}/session_3_20241102_100003.txt: not imported: there is a later file of session 3, "
        "session_3_20241102_110000.txt",
        f"{where}/notes.txt: not imported: expected a name such as session_1_<time>.txt",
        "CBT_Simulations/Gemma_Something: not imported: expected a name such as Llama_Finetune_... "
        "or Llama_Instruct_...",
        "Synthetic_Transcripts/depression_set_1/session_1.json:2: not imported: expected JSON "
        "(Expecting value)",
        "Synthetic_Transcripts/depression_set_2/patient_profile.json:1: not imported: expected a "
        "field profile with text",
        "Code/evaluation_results/other.csv:1: not imported: expected a table with the columns id "
        "and group",
        f"{TABLE}: not imported: 3 ratings of sessions whose transcripts are not here",
        "not imported: 9",
    ):
        assert line in said
    assert states(bench_of(Path("pub.yaml")), Stage.SESSIONS) == {State.DONE: 10, State.REJECTED: 2}
    assert Path("pub.published/remarks.txt").read_text().count("not imported") == 9


def test_half_a_surrogate_pair_is_no_text(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = clone / "Synthetic_Transcripts" / "depression_set_1" / "session_2.json"
    text = json.loads(file.read_text())
    text["transcript"] = text["transcript"].replace("I see.", "I see \ud800.")
    file.write_text(json.dumps(text))
    bench = bench_of(imported(clone))
    said = "session_2.json: not imported: expected text, found half a surrogate pair"
    assert said in capsys.readouterr().out
    assert states(bench, Stage.COURSES) == {State.DONE: 5, State.REJECTED: 1}


def test_ratings_that_differ_and_ratings_that_failed_are_said(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("1_20241102_110001", GROUPS[0], "Ben Okri")
    failed = {
        **score_row(*place, 1),
        "justifications": json.dumps(
            {ITEMS[0]: "Rating failed after multiple retries or N/A response"}
        ),
    }
    write_scores(
        clone / "Code" / "evaluation_results" / "a_scores.csv", [{**failed, "Homework": "11"}]
    )
    bench = bench_of(imported(clone))
    assert (
        "all_scores_with_patients.csv:5: not imported: other scores than in "
        "Code/evaluation_results/a_scores.csv:2" in capsys.readouterr().out
    )
    rating = unit_of(bench, Stage.RATINGS, "llama-tuned.ben-okri.r1.s01.published.plain.j1").content
    assert (
        rating["items"]["homework"]["score"],
        rating["items"]["homework"]["reason"],
        rating["measures"]["total"]["value"],
    ) == (
        None,
        "out_of_scale",
        None,
    )
    assert (rating["items"]["agenda"]["score"], rating["items"]["agenda"]["reason"]) == (
        1,
        "no_answer_published_as_lowest",
    )


@pytest.mark.parametrize(
    ("build", "arguments", "expected"),
    [
        (
            lambda root: root.mkdir(),
            (),
            "clone: expected Synthetic_Transcripts/depression_set_<n>/ or "
            "CBT_Simulations/<group>/, found neither",
        ),
        (
            lambda root: None,
            (),
            "clone: expected a folder, the clone of the public repository; there is none",
        ),
        (
            lambda root: write_clone(root),
            ("--scores", "none.csv"),
            "--scores none.csv: expected a CSV file, there is none",
        ),
        (
            lambda root: write_clone(root),
            ("--set", "seed=-1"),
            "pub.yaml: seed: expected at least 0, found -1",
        ),
        (
            lambda root: [
                file.write_text("{") for file in write_clone(root, groups=()).rglob("*.json")
            ],
            (),
            "clone: expected transcripts that can be read, found none: "
            "Synthetic_Transcripts/depression_set_1/patient_pr",
        ),
    ],
)
def test_nothing_to_import_is_an_error_and_leaves_nothing(
    build: Callable[[Path], object],
    arguments: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    build(Path("clone"))
    code, message = run("import", "cbt", "clone", "pub.yaml", *arguments)
    assert code == 2
    assert message.startswith(f"cbt-ray: {expected}")
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["clone"])


# --- export


def test_what_export_writes_is_imported_as_the_same_units(clone: Path) -> None:
    study = imported(clone)
    assert run("data", study, "--to", "out") == (0, "")
    Path("again.yaml").write_text(study.read_text().replace("pub.imported", "again.imported"))
    for kind in ("courses", "sessions"):
        assert run("import", kind, f"out/{kind}.jsonl", "again.yaml") == (0, "")
    first, again = (
        json.loads(Path(f"{name}.imported.json").read_text()) for name in ("pub", "again")
    )
    for part in ("profiles", "courses", "sessions"):
        assert again[part] == first[part]
    was, now = (
        unit_of(bench_of(Path(name)), Stage.COURSES, "p02.s02").provenance["imported"]
        for name in ("pub.yaml", "again.yaml")
    )
    assert now["source"] == was["source"]
    assert now["remarks"] == was["remarks"] == ["the same speaker twice in a row"]


def test_a_score_table_with_shifted_cells_is_lost_whole_and_said(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = next((clone / "Code" / "evaluation_results").glob("*.csv"))
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], lines[2].replace(",", ",9,", 1), *lines[3:]]) + "\n")
    capsys.readouterr()
    imported(clone)
    told = capsys.readouterr().out
    where = f"Code/evaluation_results/{table.name}:3"
    assert any(
        line.startswith(where) and f"found {lines[0].count(',') + 2}" in line
        for line in told.splitlines()
    ), told


def test_files_of_the_users_are_not_written_over(clone: Path) -> None:
    own = Path("pub.published/remarks.txt")
    own.parent.mkdir()
    own.write_text("mine")
    code, message = run("import", "cbt", "clone", "pub.yaml")
    assert (code, str(own) in message) == (2, True)
    assert own.read_text() == "mine"
