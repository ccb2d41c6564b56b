"""`import ratings`: whose they are, of which session, what is refused and where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import outcome
from cbt_ray.imports.rows import imported_ratings
from cbt_ray.stages.evidence import Reading, gather
from cbt_ray.study import load_study
from cbt_ray.study.imported import OWN_JUDGE
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.published.cbt.clone import ITEMS, document, write_clone
from tests.study.example import example_study, write_study

pytestmark = pytest.mark.slow

PLACE = "llama-tuned,Ada Lovell,1"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_clone(tmp_path / "clone")
    assert outcome(["import", "cbt", "clone", "pub.yaml"]) == (0, "")
    return Path("pub.yaml")


def total_of(unit: Unit) -> float | None:
    value: float | None = unit.content["measures"]["total"]["value"]
    return value


def table(*lines: str, header: str = "arm,patient,session,total") -> Path:
    file = Path("table.csv")
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def run(*arguments: object) -> tuple[int, str]:
    return outcome(["import", "ratings", *map(str, arguments)])


def ratings(study: Path, judge: str = "ana") -> dict[str, Unit]:
    bench = Bench(load_study(study), Silent(), inline=True)
    units = [bench.store.get(key) for key in bench.keys.imported_ratings()]
    return {unit.key.id: unit for unit in units if unit and unit.content["judge"] == judge}


def test_items_by_id_or_title_and_their_sum(study: Path) -> None:
    header = "Arm,patient,session,judge,kind,view,judge_replicate,justifications," + ",".join(
        f'"{item}"' for item in ITEMS
    )
    said = json.dumps({"Agenda": "There was one."}).replace('"', '""')
    row = f'LLAMA-tuned,ada lovell,1,Ana,model,plain,2,"{said}",' + ",".join(["3"] * 10) + ",10"
    assert run(table(row, header=header), study) == (0, "")
    ((name, unit),) = ratings(study).items()
    assert name == "llama-tuned.ada-lovell.r1.s01.ana.plain.j2"
    assert total_of(unit) == 40
    assert unit.content["items"]["agenda"] == {
        "word": "Poor",
        "score": 3,
        "justification": "There was one.",
        "reason": None,
    }
    assert unit.content["items"]["homework"]["word"] == "Outstanding"
    assert unit.provenance["imported"] == {
        "file": "table.csv",
        "sha256": unit.provenance["imported"]["sha256"],
        "line": 2,
    }
    manifest = load_study(study).imported
    assert manifest
    assert (manifest.judges["ana"].kind, manifest.judges["ana"].complete) == ("model", False)
    assert set(manifest.judges) == {"ana", "published"}


def test_a_missing_item_is_missing_and_so_is_the_total(study: Path) -> None:
    assert run(
        table(f"{PLACE},4,", header="arm,patient,session,agenda,item_homework"),
        study,
        "--judge",
        "ana",
    ) == (0, "")
    (unit,) = ratings(study).values()
    assert (
        unit.content["items"]["agenda"]["score"],
        unit.content["items"]["homework"]["reason"],
        total_of(unit),
    ) == (
        4,
        "absent",
        None,
    )


def test_what_a_table_says_of_scores_and_of_itself_is_kept(study: Path) -> None:
    header = "arm,patient,session,agenda,homework,strip,source,reasons"
    why = '"{""Agenda"": ""guessed"", ""homework"": ""unclear""}"'
    row = f"{PLACE},4,,paper,page 3,{why}"
    assert run(table(row, header=header), study, "--judge", "ana", "--complete") == (0, "")
    (unit,) = ratings(study).values()
    assert unit.content["strip"] == "paper"
    assert unit.provenance["imported"]["source"] == "page 3"
    items = unit.content["items"]
    assert (items["agenda"]["score"], items["agenda"]["reason"]) == (4, "guessed")
    assert (items["homework"]["score"], items["homework"]["reason"]) == (None, "unclear")
    assert items["feedback"]["reason"] == "absent"
    manifest = load_study(study).imported
    assert manifest
    assert manifest.judges["ana"].complete
    assert run(table(f"{PLACE},44"), study, "--judge", "ana") == (0, "")
    again = load_study(study).imported
    assert again
    assert again.judges["ana"].complete, "it stays so"


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("strip", "all", "strip: expected summary or paper, found 'all'"),
        ("reasons", "guessed", "reasons: expected a JSON object, item -> text"),
    ],
)
def test_what_a_table_says_otherwise_is_refused(
    column: str, cell: str, expected: str, study: Path
) -> None:
    file = table(f"{PLACE},44,{cell}", header=f"arm,patient,session,total,{column}")
    code, message = run(file, study, "--judge", "ana")
    assert (code, expected in message) == (2, True), message


def test_a_session_by_its_key_or_id(study: Path) -> None:
    bench = Bench(load_study(study), Silent(), inline=True)
    key = bench.keys.sessions()[0]
    assert run(
        table(f"{key},44", f"{bench.keys.sessions()[1].id},45", header="session_key,total"),
        study,
        "--judge",
        "ana",
    ) == (
        0,
        "",
    )
    assert {unit.content["session"]: total_of(unit) for unit in ratings(study).values()} == {
        str(key): 44,
        str(bench.keys.sessions()[1]): 45,
    }


def test_importing_again_is_a_no_op_and_a_correction_replaces(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(table(f"{PLACE},44"), study, "--judge", "ana") == (0, "")
    text, before = Path("pub.imported.json").read_text(), study.read_text()
    capsys.readouterr()
    assert run(table(f"{PLACE},44"), study, "--judge", "ana") == (0, "")
    assert "1 unit, 0 of them new" in capsys.readouterr().out
    assert (Path("pub.imported.json").read_text(), study.read_text()) == (text, before)
    assert run(table(f"{PLACE},45"), study, "--judge", "ana") == (0, "")
    assert "ana (human): 1 rating, 1 in place of others" in capsys.readouterr().out
    assert [total_of(unit) for unit in ratings(study).values()] == [45]
    manifest = Path("pub.imported.json").read_text()
    assert outcome(["import", "cbt", "clone", "pub.yaml"]) == (0, "")
    assert Path("pub.imported.json").read_text() == manifest


def test_ratings_of_simulated_sessions_add_the_line_to_the_study_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, example_study(imported=...))
    keys = Bench(load_study(study), Silent(), inline=True).keys.all()
    code, message = run(table("plain,Teresa Lindqvist,1,44"), study, "--judge", "ana")
    assert (
        code,
        "expected a session that was held, plain.teresa-lindqvist.r1.s01 is owed" in message,
    ) == (2, True)
    assert "imported" not in document(study)
    for command in ("generate", "simulate"):
        assert outcome([command, str(study), "--inline"]) == (0, "")
    capsys.readouterr()
    assert run(table("plain,Teresa Lindqvist,1,44"), study, "--judge", "ana") == (0, "")
    assert "the line `imported: study.imported.json` was added" in capsys.readouterr().out
    assert document(study)["imported"] == "study.imported.json"
    bench = Bench(load_study(study), Silent(), inline=True)
    after = bench.keys.all()
    assert {stage for stage in Stage if after[stage] != keys[stage]} == {
        Stage.RATINGS,
        Stage.ANALYSIS,
        Stage.REPORT,
    }
    assert [key.id for key in bench.keys.imported_ratings()] == [
        "plain.teresa-lindqvist.r1.s01.ana.plain.j1"
    ]


def test_columns_as_a_mapping_names_them(study: Path) -> None:
    items = {item: f"Q{number}" for number, item in enumerate(("agenda", "homework"))}
    mapping = {
        "mapping": "raters",
        "separator": ";",
        "columns": {"patient": "who", "judge": "rater"},
        "patterns": [
            {
                "column": "file",
                "pattern": "(?P<model>[a-z]+)-(?P<variant>[a-z]+)-(?P<session>[0-9]+)",
            }
        ],
        "factors": {"model": [], "variant": []},
        "values": {"variant": {"ft": "tuned", "it": "instruct"}},
        "constants": {"kind": "model"},
        "items": items,
    }
    Path("raters.yaml").write_text(yaml.safe_dump(mapping))
    file = table("Ada Lovell;Ben;llama-ft-2;x;3;4", header="who;rater;file;comment;Q0;Q1")
    assert run(file, study, "--mapping", "raters.yaml") == (0, "")
    ((name, unit),) = ratings(study, "ben").items()
    assert (name, unit.content["kind"]) == ("llama-tuned.ada-lovell.r1.s02.ben.plain.j1", "model")
    assert {item: unit.content["items"][item]["score"] for item in items} == {
        "agenda": 3,
        "homework": 4,
    }
    code, message = run(table("1;2", header="who;rater"), study, "--mapping", "raters.yaml")
    named = "which patterns.0.column of the mapping raters names; the table has who, rater"
    assert (code, message) == (2, f"cbt-ray: table.csv: column 'file' is missing, {named}")


@pytest.mark.parametrize(
    ("row", "header", "options", "expected"),
    [
        (
            "x,Ada Lovell,1,44",
            None,
            ["--judge", "a"],
            "line 2: arm: expected one of llama-instruct, llama-tuned, found x",
        ),
        (
            "llama-tuned,Zoe,1,44",
            None,
            ["--judge", "a"],
            "line 2: patient: expected one of the simulated patients, found 'Zoe'",
        ),
        (
            "llama-tuned,Ada Lovell,4,44",
            None,
            ["--judge", "a"],
            "line 2: session: expected 1 to 3, replicate 1 to 1; found llama-tuned.ada",
        ),
        (
            "llama-tuned,Ada Lovell,0,44",
            None,
            ["--judge", "a"],
            "line 2: session: expected at least 1, found 0",
        ),
        (
            "llama-tuned,Ada Lovell,,44",
            None,
            ["--judge", "a"],
            "line 2: session: expected a number, found none",
        ),
        (f"{PLACE},44", None, [], "line 2: judge: expected a column judge, or --judge NAME"),
        (
            f"{PLACE},44",
            None,
            ["--judge", "judge"],
            "line 2: judge: expected a name with letters or digits other than judge",
        ),
        (
            f"{PLACE},44,robot",
            "arm,patient,session,total,kind",
            ["--judge", "a"],
            "line 2: kind: expected human or model, found 'robot'",
        ),
        (
            f"{PLACE},44,masked",
            "arm,patient,session,total,view",
            ["--judge", "a"],
            "line 2: view: expected one of plain, found 'masked'",
        ),
        (f"{PLACE},10", None, ["--judge", "a"], "line 2: total: expected 11 to 110, found 10"),
        (
            f"{PLACE},4.5",
            None,
            ["--judge", "a"],
            "line 2: total: expected a whole number, found '4.5'",
        ),
        (
            f"{PLACE},nan",
            None,
            ["--judge", "a"],
            "line 2: total: expected a whole number, found 'nan'",
        ),
        (
            f"{PLACE},11",
            "arm,patient,session,agenda",
            ["--judge", "a"],
            "line 2: agenda: expected 1 to 10, found 11",
        ),
        (
            f"{PLACE},",
            "arm,patient,session,agenda",
            ["--judge", "a"],
            "line 2: expected scores of items, or a total; found neither",
        ),
        (
            f"{PLACE},5,[]",
            "arm,patient,session,agenda,justifications",
            ["--judge", "a"],
            "line 2: justifications: expected a JSON object",
        ),
        (
            "nothing,44",
            "session_key,total",
            ["--judge", "a"],
            "line 2: session_key: expected a session that the study file derives",
        ),
        (
            f"{PLACE},5",
            "arm,patient,session,agendum",
            ["--judge", "a"],
            "line 1: unknown column 'agendum', expected one of session_key,",
        ),
        (
            f"{PLACE},5,5",
            "arm,patient,session,agenda,Agenda",
            ["--judge", "a"],
            "line 1: expected agenda once, found 'agenda' and 'Agenda'",
        ),
        (
            "",
            "arm,patient,session,total",
            ["--judge", "a"],
            "expected at least one row under the names of the columns",
        ),
    ],
)
def test_a_row_that_is_of_no_use_is_refused_with_its_line(
    row: str, header: str | None, options: list[str], expected: str, study: Path
) -> None:
    file = table(row, header=header or "arm,patient,session,total")
    text = Path("pub.imported.json").read_text()
    code, message = run(file, study, *options)
    assert code == 2
    assert message.startswith("cbt-ray: table.csv")
    assert expected in message
    assert Path("pub.imported.json").read_text() == text


def test_all_bad_rows_are_said_and_none_of_the_good_ones_imported(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Any] = [
        f"{PLACE},44",
        f"{PLACE},44",
        "llama-tuned,Ada Lovell,2,44",
        "llama-tuned,Zoe,2,44",
    ]
    capsys.readouterr()
    code, message = run(table(*rows), study, "--judge", "ana")
    assert code == 2
    first = "the same session, judge, view and judge_replicate as on line 2"
    assert message == f"cbt-ray: table.csv, line 3: {first} (2 such rows; nothing was imported)"
    assert (
        capsys.readouterr().out
        == "table.csv, line 5: patient: expected one of the simulated patients, found 'Zoe'\n"
    )
    assert ratings(study) == {}


def test_a_total_that_is_not_the_sum_is_refused(study: Path) -> None:
    header = "arm,patient,session,total," + ",".join(f'"{item}"' for item in ITEMS)
    code, message = run(
        table(f"{PLACE},34," + ",".join(["3"] * 11), header=header), study, "--judge", "ana"
    )
    assert (code, "line 2: total: expected 33, as the items make it, found 34" in message) == (
        2,
        True,
    )


def test_a_judge_stays_what_it_is(study: Path) -> None:
    assert run(table(f"{PLACE},44"), study, "--judge", "ana") == (0, "")
    code, message = run(table(f"{PLACE},45"), study, "--judge", "ana", "--kind", "model")
    assert (code, message) == (
        2,
        "cbt-ray: table.csv: expected kind human of ana, of whom ratings were imported before; "
        "found model",
    )


@pytest.mark.parametrize("kind", ["absent", "folder", "bytes"])
def test_a_file_that_is_no_table(kind: str, study: Path) -> None:
    if kind == "folder":
        Path("table.csv").mkdir()
    if kind == "bytes":
        Path("table.csv").write_bytes(b"arm,patient\n\xff,x\n")
    code, message = run("table.csv", study, "--judge", "ana")
    assert code == 2
    assert message.startswith("cbt-ray: table.csv")


# --- what would be shifted, cut or taken for another scale


def mapped(study: Path, *lines: str, **fields: Any) -> tuple[int, str]:
    """Rows of arm, patient, session, agenda and homework, by a mapping with some fields."""
    mapping = {
        "mapping": "mine",
        "columns": {"arm": "Arm", "patient": "Client", "session": "Session"},
        "items": {"agenda": "A", "homework": "H"},
        "constants": {"judge": "ana"},
        **fields,
    }
    Path("mine.yaml").write_text(yaml.safe_dump(mapping))
    separator = fields.get("separator", ",")
    text = "\n".join(["Arm,Client,Session,A,H".replace(",", separator), *lines]) + "\n"
    Path("table.csv").write_bytes(text.encode(fields.get("encoding", "utf-8")))
    return run("table.csv", study, "--mapping", "mine.yaml")


def scores(study: Path) -> list[dict[str, Any]]:
    return [
        {item: (one["score"], one["word"]) for item, one in unit.content["items"].items()}
        for unit in ratings(study).values()
    ]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            f"{PLACE},4,5,6",
            "table.csv, line 3, column 6: expected 5 cells as in the line with the names, found 6; "
            "a cell that",
        ),
        (
            f"{PLACE},4",
            "table.csv, line 3, column 5: expected 5 cells as in the line with the names, found 4",
        ),
        (
            f"{PLACE},4,5,",
            "table.csv, line 3, column 6: expected 5 cells as in the line with the names, found 6; "
            "a cell that",
        ),
    ],
)
def test_a_row_with_a_cell_too_many_or_too_few_is_refused(study: Path, row: str, line: str) -> None:
    file = table("llama-tuned,Ada Lovell,2,4,5", row, header="arm,patient,session,agenda,homework")
    code, message = run(file, study, "--judge", "ana")
    assert (code, line in message) == (2, True)
    code, message = mapped(study, "llama-tuned,Ada Lovell,2,4,5", row)
    assert (code, line in message) == (2, True)
    assert ratings(study) == {}


def test_another_range_is_refused_where_nothing_says_how_it_becomes_the_scales(study: Path) -> None:
    code, message = mapped(study, f"{PLACE},6,0", range=[0, 6])
    assert code == 2
    assert message == (
        "cbt-ray: mapping mine: range: expected ratings from 1 to 10, as the scale ctrs has them, "
        "found 0 to 6; "
        "`rescale: linear` puts 0 to 1 and 6 to 10"
    )
    assert ratings(study) == {}


def test_a_range_is_rescaled_where_the_mapping_says_so(study: Path) -> None:
    assert mapped(
        study, f"{PLACE},6,0", "llama-tuned,Ada Lovell,2,4.5,1", range=[0, 6], rescale="linear"
    ) == (0, "")
    found = [
        {name: one for name, one in items.items() if one[0] is not None} for items in scores(study)
    ]
    assert found == [
        {"agenda": (10, None), "homework": (1, None)},
        {"agenda": (7.75, None), "homework": (2.5, None)},
    ]
    (unit, *_) = ratings(study).values()
    assert (unit.provenance["imported"]["range"], unit.provenance["imported"]["rescale"]) == (
        [0, 6],
        "linear",
    )
    code, message = mapped(study, f"{PLACE},7,0", range=[0, 6], rescale="linear")
    assert (code, "line 2: agenda: expected 0 to 6, found 7" in message) == (2, True)


def test_a_rescaled_total_is_the_sum_of_the_rescaled_items(study: Path) -> None:
    (published, *_) = ratings(study, "published").values()
    items = {item: f"Q{n}" for n, item in enumerate(published.content["items"])}
    columns = {"arm": "arm", "patient": "patient", "session": "session"}
    declared = {
        "mapping": "all",
        "columns": columns,
        "items": items,
        "total": "T",
        "range": [0, 6],
        "rescale": "linear",
    }
    Path("all.yaml").write_text(yaml.safe_dump(declared))
    header = "arm,patient,session,T," + ",".join(items.values())
    assert run(
        table(f"{PLACE},33," + ",".join(["3"] * 11), header=header),
        study,
        "--judge",
        "ana",
        "--mapping",
        "all.yaml",
    ) == (
        0,
        "",
    )
    ((_, unit),) = ratings(study).items()
    assert total_of(unit) == 60.5 == sum(item["score"] for item in unit.content["items"].values())
    code, message = run(
        table(f"{PLACE},60," + ",".join(["3"] * 11), header=header),
        study,
        "--judge",
        "b",
        "--mapping",
        "all.yaml",
    )
    assert (code, "total: expected 33, as the items make it, found 60" in message) == (2, True)


def test_rescaled_ratings_are_analysed(study: Path) -> None:
    rows = [
        f"llama-{kind},Ada Lovell,{session},{session},{session / 2}"
        for kind in ("tuned", "instruct")
        for session in (1, 2)
    ]
    assert mapped(study, *rows, range=[0, 6], rescale="linear") == (0, "")
    assert outcome(["evaluate", "pub.yaml", "--set", "raters.judge.replicates=0"]) == (0, "")
    assert outcome(["data", "pub.yaml", "--to", "out"]) == (0, "")
    text = Path("out/scores.csv").read_text()
    assert ",ana,human," in text
    assert "1.75" in text


def test_decimal_commas_and_other_encodings(study: Path) -> None:
    row = "llama-tuned;Ada Lovell;1;4,0;5"
    code, message = mapped(study, row, separator=";")
    assert (code, "line 2: agenda: expected a whole number, found '4,0'" in message) == (2, True)
    assert "the mapping says `decimal: ','`" in message
    assert mapped(study, row, separator=";", decimal=",", encoding="utf-16") == (0, "")
    assert scores(study)[0]["agenda"] == (4, "Unsatisfactory")


def test_what_a_mapping_does_not_describe_is_refused(study: Path) -> None:
    code, message = mapped(study, f"{PLACE},4,5", values={"arm": {"qwen": "llama-tuned"}})
    assert (code, "line 2: arm: expected one of 'qwen', found 'llama-tuned'" in message) == (
        2,
        True,
    )
    pattern = {"column": "Arm", "pattern": "(?P<model>qwen)-(?P<variant>tuned)"}
    code, message = mapped(
        study,
        f"{PLACE},4,5",
        columns={"patient": "Client", "session": "Session"},
        factors={"model": [], "variant": []},
        patterns=[pattern],
    )
    assert (
        code,
        "line 2: column Arm: expected (?P<model>qwen)-(?P<variant>tuned), found 'llama-tuned'"
        in message,
    ) == (2, True)


def test_two_raters_are_not_one_for_their_spelling(study: Path) -> None:
    file = table(
        f"{PLACE},44,Ana B",
        "llama-tuned,Ada Lovell,2,45,ana.b",
        header="arm,patient,session,total,judge",
    )
    code, message = run(file, study)
    assert (
        code,
        "line 3: judge: expected one spelling of ana-b, as 'Ana B' before; found 'ana.b'"
        in message,
    ) == (2, True)


def test_half_a_surrogate_pair_is_refused(study: Path) -> None:
    row = f'{PLACE},4,"{{""agenda"": ""\\ud800""}}"'
    code, message = run(
        table(row, header="arm,patient,session,agenda,justifications"), study, "--judge", "ana"
    )
    assert (code, "line 2: justifications: expected a JSON object, item -> text" in message) == (
        2,
        True,
    )


def test_blank_rows_are_counted(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(table(f"{PLACE},44", ",,,", ",,,"), study, "--judge", "ana") == (0, "")
    assert "table.csv: 2 rows without any text ignored" in capsys.readouterr().out


def test_a_rating_of_words_that_are_no_longer_there_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that was damaged is held anew with other words under its key: who rated the first
    ones says nothing of these.
    """
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, example_study(imported=...))
    for command in ("generate", "simulate"):
        assert outcome([command, str(study), "--inline"]) == (0, "")
    rows = [f"plain,Teresa Lindqvist,{number},44" for number in (1, 2)]
    assert run(table(*rows), study, "--judge", "ana") == (0, "")
    assert reasons(study) == {1: None, 2: None}

    bench = Bench(load_study(study), Silent(), inline=True)
    last = bench.store.get(bench.keys.sessions()[-1])
    assert last
    bench.store.delete(str(last.key))
    bench.store.put(
        Unit(last.key, {**last.content, "summary": "Other words."}, made_from=last.made_from)
    )
    assert reasons(study) == {1: None, 2: "other_version"}
    assert outcome(["study", str(study), "--inline"]) == (0, "")
    analysis = bench.store.get(bench.keys.analysis())
    assert analysis
    sessions = gather(bench, Reading(bench.keys, bench.store), analysis).sessions
    shown = {one.number: [rating.judge for rating in one.ratings] for one in sessions}
    assert shown == {1: [OWN_JUDGE, "ana"], 2: [OWN_JUDGE]}, "it is not shown beside other words"

    assert run(table(*rows), study, "--judge", "ana") == (0, "")
    assert reasons(study) == {1: None, 2: None}


def reasons(study: Path) -> dict[int, str | None]:
    """Session -> why its rating by Ana does not count."""
    bench = Bench(load_study(study), Silent(), inline=True)
    survey = bench.survey(Stage.SESSIONS, Stage.RATINGS)
    return {
        row.session: row.reason
        for row in imported_ratings(bench, survey, lambda _: None, lambda *_: 1)
        if row.judge == "ana"
    }
