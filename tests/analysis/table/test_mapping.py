"""Mappings: what a table becomes under one, and that whatever it does not describe is refused in
one line.
"""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from cbt_ray.analysis.settings import ItemKind, Settings
from cbt_ray.analysis.table.mapped import Mapped, read_table
from cbt_ray.analysis.table.mapping import FIELDS, Mapping, load_mapping, shipped
from cbt_ray.commands.analyze import flat_scores, settings_of
from cbt_ray.errors import InputError
from cbt_ray.rating.measure import MeasureKind
from cbt_ray.study.model import Analysis as Block
from tests.analysis.table.big_table import GROUPS, SESSIONS, write_big
from tests.analysis.tables import made_up, published
from tests.needs import needs

pytestmark = pytest.mark.slow

MAPPING: dict[str, Any] = {
    "mapping": "mine",
    "factors": {"model": [], "variant": ["tuned", "instruct"]},
    "columns": {"patient": "who"},
    "patterns": [
        {"column": "cell", "pattern": "(?P<model>[a-z]+) (?P<variant>[TI])"},
        {"column": "name", "pattern": "s(?P<session>[0-9]+)"},
    ],
    "values": {"variant": {"T": "tuned", "I": "instruct"}},
    "items": {"one": "Item 1", "two": {"column": "Item 2", "title": "The second"}},
    "range": [0, 6],
}
ROWS = [
    {"who": "ada", "cell": "qwen T", "name": "s1", "Item 1": "3", "Item 2": "4"},
    {"who": "ada", "cell": "qwen I", "name": "s1", "Item 1": "2.5", "Item 2": ""},
    {"who": "ben", "cell": "qwen T", "name": "s1", "Item 1": "1", "Item 2": "0"},
    {"who": "ben", "cell": "qwen T", "name": "s2", "Item 1": "", "Item 2": "NA"},
]


def mapping(**changes: Any) -> Mapping:
    return Mapping.model_validate({**MAPPING, **changes})


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path, rows: list[dict[str, str]] | None = None, **changes: Any) -> Mapped:
    return read_table(
        write(path / "scores.csv", ROWS if rows is None else rows), mapping(**changes)
    )


def refusal(path: Path, *changed: tuple[int, dict[str, str]], **changes: Any) -> str:
    rows = [dict(row) for row in ROWS]
    for place, cells in changed:
        rows[place] |= cells
    with pytest.raises(InputError) as error:
        read(path, rows, **changes)
    line = str(error.value)
    assert "\n" not in line
    return line.removeprefix(str(path / "scores.csv")).removeprefix(", ").removeprefix(": ")


# --- what a table becomes


def test_parts_of_cells_become_fields(tmp_path: Path) -> None:
    ratings = read(tmp_path).scores.ratings
    assert list(ratings["arm"]) == ["qwen-tuned", "qwen-instruct", "qwen-tuned", "qwen-tuned"]
    assert list(ratings["session"]) == [1, 1, 1, 2]
    assert list(ratings["patient"]) == ["ada", "ada", "ben", "ben"]
    assert set(ratings["judge"]) == {"judge"}
    assert set(ratings["view"]) == {"plain"}


def test_the_total_is_the_sum_and_there_is_none_where_an_item_is_missing(tmp_path: Path) -> None:
    found = read(tmp_path)
    ratings = found.scores.ratings
    assert list(ratings["total"].fillna(-1)) == [7.0, -1, 1.0, -1]
    assert list(ratings["item:one"].fillna(-1)) == [3.0, 2.5, 1.0, -1]
    assert list(ratings["rated"]) == [True, True, True, False]
    assert ratings["reason"].iloc[3] == "no_score"
    assert ratings["reason"].iloc[:3].isna().all()
    assert found.titles == {"one": "Item 1", "two": "The second"}


def test_what_was_scheduled_and_never_rated_is_a_row(tmp_path: Path) -> None:
    found = read(tmp_path, scheduled={"sessions": 2}, phases={"first": [1, 1], "rest": [2, 9]})
    absent = found.scores.ratings[found.scores.ratings["reason"] == "absent"]
    assert found.absent == len(absent) == 4
    assert set(zip(absent["arm"], absent["patient"], absent["session"], strict=True)) == {
        ("qwen-tuned", "ada", 2),
        ("qwen-instruct", "ada", 2),
        ("qwen-instruct", "ben", 1),
        ("qwen-instruct", "ben", 2),
    }
    assert not absent["rated"].any()
    assert list(absent.sort_values(["patient", "session"])["phase"])[-1] == "rest"
    assert set(absent["factor:model"]) == {"qwen"}
    sessions = found.scores.sessions("plain")
    assert (len(sessions), sessions["total"].count()) == (8, 2)


def test_a_table_of_totals_has_the_total_as_its_item(tmp_path: Path) -> None:
    found = read(tmp_path, items={}, total="Item 1")
    assert found.titles == {"total": "Total"}
    assert list(found.scores.ratings["total"].fillna(-1)) == [3.0, 2.5, 1.0, -1]
    assert list(found.scores.ratings["rated"]) == [True, True, True, False]


def test_only_the_pairs_of_the_table_where_not_every_patient_was_scheduled(tmp_path: Path) -> None:
    assert read(tmp_path, scheduled={"sessions": 2, "every_patient": False}).absent == 2


def test_people_who_rate_samples_are_not_missed(tmp_path: Path) -> None:
    rows = [{**row, "rater": "eve", "is": "human"} for row in ROWS[:1]] + [
        {**row, "rater": "gpt", "is": "model"} for row in ROWS
    ]
    columns = {"patient": "who", "judge": "rater", "kind": "is"}
    found = read(tmp_path, rows, columns=columns, scheduled={"sessions": 2})
    assert found.scores.judges == {"eve": "human", "gpt": "model"}
    assert found.absent == 4
    assert set(found.scores.ratings.loc[found.scores.ratings["reason"] == "absent", "judge"]) == {
        "gpt"
    }


def test_what_cbt_ray_wrote_is_read_back_without_a_mapping(tmp_path: Path) -> None:
    from cbt_ray.analysis import Scores
    from cbt_ray.stages.tables import csv_of, csv_of_frame, scores_of

    rows = made_up(
        replicates=2,
        reason=lambda key: "rejected:empty" if key[3] == 3 and key[2] == "ada" else None,
    )
    before = Scores.of(rows)
    (tmp_path / "scores.csv").write_bytes(csv_of(scores_of(rows)))
    after = read_table(tmp_path / "scores.csv", load_mapping("cbt-ray")).scores
    columns = [name for name in before.ratings.columns if name in after.ratings.columns]
    assert set(before.ratings.columns) == set(after.ratings.columns)
    pd.testing.assert_frame_equal(
        before.ratings[columns], after.ratings[columns], check_dtype=False
    )
    (tmp_path / "again.csv").write_bytes(csv_of_frame(flat_scores(after)))
    again = read_table(tmp_path / "again.csv", load_mapping("cbt-ray")).scores
    pd.testing.assert_frame_equal(after.ratings, again.ratings)


def test_the_published_scores(tmp_path: Path) -> None:
    rows = published()
    found = read_table(
        Path(os.environ["CBT_RAY_PUBLISHED"]) / "cbt_scores.csv", load_mapping("cbt")
    )
    rated = found.scores.ratings[found.scores.ratings["rated"]]
    assert (found.rows, found.absent, len(found.scores.items)) == (593, 7, 11)
    assert sorted(rated["total"]) == sorted(float(row.total or 0) for row in rows)
    assert set(rated["arm"]) == {"-".join(row.factors.values()) for row in rows}
    absent = found.scores.ratings[found.scores.ratings["reason"] == "absent"]
    assert set(absent["arm"]) == {"Mistral-instruct"}


def test_the_items_of_act_sum_to_its_published_total(tmp_path: Path) -> None:
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "act_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_file())
    found = read_table(path, load_mapping("act"))
    assert found.measures is not None
    np.testing.assert_allclose(
        found.scores.ratings["total"], found.measures["act_fm_total_consistency"]
    )
    arms = found.scores.ratings.drop_duplicates("arm")
    assert set(zip(arms["factor:training"], arms["factor:reasoning"], strict=True)) == {
        (m, v) for m in ("instruct", "sft", "orpo") for v in ("yes", "no")
    }
    assert found.absent == 0


def test_a_big_table_keeps_every_rating(tmp_path: Path) -> None:
    """CBT_RAY_BIG_PATIENTS=8334 makes it 10^6 ratings."""
    patients = int(os.environ.get("CBT_RAY_BIG_PATIENTS", "40"))
    rows = write_big(tmp_path / "big.csv", patients)
    found = read_table(tmp_path / "big.csv", load_mapping("cbt"))
    assert rows == found.rows == len(GROUPS) * patients * SESSIONS
    raw = pd.read_csv(tmp_path / "big.csv").drop(columns=["id", "patient_id", "group"])
    np.testing.assert_array_equal(found.scores.ratings["total"], raw.sum(axis=1))
    assert found.scores.ratings["session_key"].nunique() == rows


# --- what is refused


@pytest.mark.parametrize(
    ("place", "cells", "line"),
    [
        (1, {"Item 1": "x"}, "line 3, column Item 1: expected a number, found 'x'"),
        (2, {"Item 2": "7"}, "line 4, column Item 2: expected a number from 0 to 6, found 7"),
        (2, {"Item 2": "-1"}, "line 4, column Item 2: expected a number from 0 to 6, found -1"),
        (0, {"Item 1": "inf"}, "line 2, column Item 1: expected a number, found 'inf'"),
        (0, {"Item 1": "True"}, "line 2, column Item 1: expected a number, found 'True'"),
        (
            3,
            {"who": ""},
            "line 5, column who: expected a value for patient, found an empty cell (or one of "
            "`missing`, '', 'NA', 'NaN')",
        ),
        (
            3,
            {"name": "s0"},
            "line 5, column name: expected a whole number from 1 for session, found 0",
        ),
        (3, {"name": "2"}, "line 5, column name: expected s(?P<session>[0-9]+), found '2'"),
        (
            3,
            {"cell": ""},
            "line 5, column cell: expected (?P<model>[a-z]+) (?P<variant>[TI]), found an empty "
            "cell",
        ),
    ],
)
def test_a_cell_that_cannot_be_read(
    tmp_path: Path, place: int, cells: dict[str, str], line: str
) -> None:
    assert refusal(tmp_path, (place, cells)) == line


def test_the_first_of_many_cells_is_named_and_the_others_counted(tmp_path: Path) -> None:
    line = refusal(tmp_path, (1, {"Item 1": "x"}), (2, {"Item 1": "y"}), (0, {"Item 2": "99"}))
    assert line == "line 2, column Item 2: expected a number from 0 to 6, found 99 (and 2 more)"


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    text = 'who,cell,name,Item 1,Item 2\n\n"a\nda",qwen T,s1,1,1\nben,qwen T,s1,1,oops\n'
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(InputError, match="line 5, column Item 2: expected a number, found 'oops'"):
        read_table(tmp_path / "scores.csv", mapping())


def test_a_value_without_a_name(tmp_path: Path) -> None:
    line = refusal(tmp_path, values={"variant": {"T": "tuned"}})
    assert line == "line 3, column cell: expected one of 'T' for variant, found 'I'"


def test_a_rating_that_stands_twice(tmp_path: Path) -> None:
    line = refusal(tmp_path, (3, {"name": "s1", "Item 1": "1"}))
    assert line.startswith(
        "line 5: expected each rating once, session 'qwen-tuned/ben/1/1', view 'plain', judge "
        "'judge' is on line 4, too"
    )
    assert line.endswith("the mapping mine must say which column is judge_replicate")


def test_a_missing_column_names_the_field_that_wants_it(tmp_path: Path) -> None:
    line = refusal(tmp_path, columns={"patient": "whom"})
    assert line.startswith(
        "column 'whom' is missing, which columns.patient of the mapping mine names; the table has "
        "who, cell,"
    )
    line = refusal(tmp_path, items={"one": "Item 9"})
    assert line.startswith("column 'Item 9' is missing, which items.one of the mapping mine names")


def test_a_session_beyond_the_last_one(tmp_path: Path) -> None:
    line = refusal(tmp_path, scheduled={"sessions": 1})
    assert (
        line
        == "mapping mine: scheduled.sessions: expected no session beyond 1, the table has session 2"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected a line with the names of the columns, the file is empty"),
        ("who,cell,name,Item 1,Item 2\n", "expected at least one row"),
        ("who,who,cell\n", "line 1, column 2: expected each column once, 'who' is there twice"),
        (
            "who,cell,name,Item 1,Item 2\nada,qwen T,s1,1,2,3\n",
            "line 2, column 6: expected 5 cells as .*, found 6; a cell",
        ),
        (
            "who,cell,name,Item 1,Item 2\nada,qwen T,s1,1,2\nben,qwen T,s1\n",
            "line 3, column 4: expected 5 cells as .*, found 3",
        ),
        (
            'who,cell,name,Item 1,Item 2\nada,"qwen T,s1,1,2\n',
            "line 2: expected a closing quote, the file ends before it",
        ),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(InputError, match=line):
        read_table(tmp_path / "scores.csv", mapping())


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_bytes(b"\xff\xfe\x00who")
    with pytest.raises(
        InputError,
        match=r"line 1: expected text in UTF-8, found the byte 0xff; where .* `encoding: utf-16`",
    ):
        read_table(tmp_path / "scores.csv", mapping())
    with pytest.raises(InputError, match="expected a file, there is none"):
        read_table(tmp_path / "none.csv", mapping())


# --- the mapping itself


@pytest.mark.parametrize("name", shipped())
def test_each_mapping_of_the_package_loads(name: str) -> None:
    assert load_mapping(name).mapping == name


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"colums": {}}, "colums: unknown field, expected columns"),
        ({"columns": {}}, "columns: expected patient"),
        (
            {"columns": {"patient": "who", "judges": "x"}},
            "columns.judges: expected one of session_key, arm",
        ),
        (
            {"columns": {"patient": "who", "model": "x"}},
            "columns: expected each field once, model is given more than once",
        ),
        ({"patterns": [], "factors": {}, "values": {}}, "columns: expected arm or a factor"),
        (
            {
                "patterns": [],
                "factors": {"model": []},
                "values": {},
                "columns": {"patient": "a", "arm": "b"},
            },
            "factors.model: expected it in columns, patterns or constants",
        ),
        (
            {"factors": {"model": [], "variant": [], "session": []}},
            "factors.session: expected another name than a field's",
        ),
        ({"factor_prefix": "f_"}, "factors: expected either factors or factor_prefix"),
        (
            {"patterns": [{"column": "c", "pattern": "("}]},
            "patterns.0.pattern: expected a regular expression",
        ),
        (
            {"patterns": [{"column": "c", "pattern": "(?P<model>(a|a)*)b"}]},
            "patterns.0.pattern: expected a regular expression without repeats within repeats",
        ),
        (
            {"patterns": [{"column": "c", "pattern": "(.*)"}]},
            "patterns.0.pattern: expected named groups out of",
        ),
        ({"patterns": [{"column": "c", "pattern": "(?P<modl>.*)"}]}, "found (?P<modl>...)"),
        ({"values": {"judge": {"a": "b"}}}, "values: expected fields that are read, judge is not"),
        ({"items": {}}, "items: expected either items or item_prefix"),
        ({"item_prefix": "x_"}, "items: expected either items or item_prefix"),
        ({"range": [6, 0]}, "range: expected [lowest, highest]"),
        (
            {"contrasts": [{"name": "c", "plus": {"variant": "x"}, "minus": {"model": "y"}}]},
            "contrasts.0.minus: expected levels of the same factors as plus",
        ),
        ({"outcome": "share", "range": None}, "range: expected"),
        ({"outcome": "count"}, "range: expected none of a count"),
        ({"outcome": "flag"}, "outcome: expected the column of a total or one item"),
        ({"outcome": "rate"}, "outcome: expected 'score', 'flag', 'share' or 'count'"),
        ({"range": [0, float("inf")]}, "range.1: expected a finite number, found inf"),
        ({"rescale": "linear", "range": None}, "range: expected"),
        ({"rescale": "square"}, "rescale: expected 'linear', found 'square'"),
        (
            {"encoding": "utf-9"},
            "encoding: expected an encoding, such as utf-8, utf-16, cp1252 or latin-1, found "
            "'utf-9'",
        ),
        ({"encoding": "rot13"}, "encoding: expected an encoding of text"),
        ({"encoding": "idna"}, "encoding: expected an encoding of text"),
        ({"decimal": ";"}, "decimal: expected '.' or ',', found ';'"),
        ({"separator": '"'}, "separator: expected a sign such as"),
        ({"separator": "\n"}, "separator: expected a sign such as"),
        ({"separator": "ab"}, "separator: expected at most 1"),
        (
            {"constants": {"judge": 7}},
            "constants.judge: expected text, in quotes; found the number 7",
        ),
        ({"scheduled": {"sessions": 0}}, "scheduled.sessions: expected at least 1, found 0"),
    ],
)
def test_a_bad_mapping_names_file_and_field(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**MAPPING, **changes}))
    with pytest.raises(InputError) as error:
        load_mapping(str(file))
    assert str(error.value).startswith(f"{file}: ")
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_mapping_names_those_there_are() -> None:
    with pytest.raises(
        InputError, match=r"--mapping cpt: expected act, cbt, cbt-ray or a YAML file, there is none"
    ):
        load_mapping("cpt")


def test_a_mapping_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "torn.yaml").write_text("mapping: mine\ncolumns: {patient: [\n")
    with pytest.raises(InputError, match=r"torn\.yaml, line 3: expected YAML"):
        load_mapping(str(tmp_path / "torn.yaml"))


def test_every_field_of_a_rating_can_be_mapped() -> None:
    from cbt_ray.analysis import ScoreRow

    apart = {"factors", "items", "measures", "unmeasured", "total"}
    assert set(ScoreRow.__dataclass_fields__) - apart == set(FIELDS)


# --- the page

PAGE = (Path(__file__).parents[3] / "docs" / "analyze.md").read_text()


def test_the_page_has_every_field_of_a_mapping() -> None:
    section = PAGE.split("## Mappings")[1].split("## Repeated")[0]
    listed = {
        name
        for line in section.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert listed == set(Mapping.model_fields)
    assert [name for name in FIELDS if f"`{name}`" not in section] == []


def test_the_mapping_of_the_page_is_one() -> None:
    example = PAGE.split("```yaml")[1].split("```")[0]
    assert Mapping.model_validate(yaml.safe_load(example)).mapping == "mine"


# --- flags, shares and counts


TALLIES = [f"{arm},p{patient},1,{{}}" for arm in "ab" for patient in range(4)]


def tallied(path: Path, values: list[object], **changes: Any) -> Settings:
    """The settings for a table of one value a row."""
    lines = [line.format(value) for line, value in zip(TALLIES, values, strict=True)]
    columns = {"arm": "Arm", "patient": "Client", "session": "Session"}
    own = Mapping.model_validate(
        {"mapping": "tally", "columns": columns, "total": "total", **changes}
    )
    file = path / "tally.csv"
    file.write_text("\n".join(["Arm,Client,Session,total", *lines]) + "\n", encoding="utf-8")
    return settings_of(Block(), own, read_table(file, own))


@pytest.mark.parametrize(
    ("outcome", "values", "changes", "ends"),
    [
        ("flag", [0, 1, 1, 0, 0, 0, 0, 1], {}, (0, 1)),
        ("flag", [1, 2, 2, 1, 1, 1, 2, 2], {"range": [1, 2]}, (1, 2)),
        ("share", [0, 12.5, 100, 40, 3, 0, 9, 1], {"range": [0, 100]}, (0, 100)),
        ("count", [0, 3, 250, 1, 0, 0, 7, 2], {}, (0, None)),
    ],
)
def test_what_the_total_is_becomes_a_setting_of_total_and_item(
    tmp_path: Path,
    outcome: MeasureKind,
    values: list[object],
    changes: dict[str, Any],
    ends: tuple[float, float | None],
) -> None:
    found = tallied(tmp_path, values, outcome=outcome, **changes)
    assert (found.kind, found.total) == (outcome, ends)
    assert found.item_kinds == {"total": ItemKind(outcome, *ends)}
    assert found.highest == (250 if outcome == "count" else ends[1])


@pytest.mark.parametrize(
    ("outcome", "value", "changes", "line"),
    [
        ("flag", 0.5, {}, "expected 0 or 1, found 0.5"),
        ("flag", 2, {}, "expected 0 or 1, found 2"),
        ("share", 101, {"range": [0, 100]}, "expected a number from 0 to 100, found 101"),
        ("count", 1.5, {}, "expected a whole number from 0, found 1.5"),
        ("count", -1, {}, "expected a whole number from 0, found -1"),
    ],
)
def test_a_value_that_it_cannot_have_is_refused(
    tmp_path: Path, outcome: str, value: float, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(InputError, match=f"line 3, column total: {line}"):
        tallied(tmp_path, [0, value, 1, 1, 0, 0, 0, 0], outcome=outcome, **changes)


def test_a_sum_of_shares_has_the_ends_of_all(tmp_path: Path) -> None:
    own = mapping(outcome="share")
    found = settings_of(Block(), own, read(tmp_path, outcome="share"))
    assert (found.total, found.item_kinds["one"]) == ((0, 12), ItemKind("share", 0, 6))


def test_a_table_of_scores_says_nothing_of_kinds(tmp_path: Path) -> None:
    found = settings_of(Block(), mapping(), read(tmp_path))
    assert (found.kind, found.total, found.item_kinds) == ("score", None, {})


# --- ids are text


def coded(path: Path, lines: list[str], **changes: Any) -> Mapped:
    """Rows of arm, patient, session and score."""
    columns = {"arm": "Arm", "patient": "Client", "session": "Session"}
    declared = {
        "mapping": "codes",
        "columns": columns,
        "total": "total",
        "range": [0, 110],
        **changes,
    }
    (path / "codes.csv").write_text(
        "\n".join(["Arm,Client,Session,total", *lines]) + "\n", encoding="utf-8"
    )
    return read_table(path / "codes.csv", Mapping.model_validate(declared))


def test_codes_that_look_like_numbers_are_different_patients(tmp_path: Path) -> None:
    codes = [
        "1E2",
        "100",
        "0100",
        "007",
        "7",
        "7.0",
        "1_0",
        "0x10",
        "nan",
        "None",
        "True",
        "é",
        "e\u0301",
    ]
    read = coded(tmp_path, [f"{arm},{code},1,40" for arm in ("01", "1") for code in codes])
    ratings = read.scores.ratings
    assert list(ratings["patient"]) == codes * 2
    assert list(ratings["arm"].unique()) == ["01", "1"]
    assert read.scores.sessions("plain")["chain"].nunique() == 26


def test_codes_are_in_every_table_and_in_the_analysis_as_they_are_written(tmp_path: Path) -> None:
    from cbt_ray.commands.analyze import analyze

    codes = ["1E2", "100", "0100", "=1+1", "'7"]
    coded(
        tmp_path, [f"{arm},{code},{n},{40 + n}" for arm in "xy" for n, code in enumerate(codes, 1)]
    )
    (tmp_path / "m.yaml").write_text(
        "mapping: m\ncolumns: {arm: Arm, patient: Client, session: Session}\ntotal: total\nrange: "
        "[0, 110]\n"
    )
    analyze(tmp_path / "codes.csv", str(tmp_path / "m.yaml"), tmp_path / "out", {}, lambda _: None)
    again = read_table(
        tmp_path / "out" / "tables" / "scores.csv",
        load_mapping("cbt-ray").model_copy(update={"range": (0, 110)}),
    )
    assert list(again.scores.ratings["patient"]) == codes * 2
    assert {
        code in (tmp_path / "out" / "report.html").read_text(encoding="utf-8") for code in codes[:3]
    } == {True}


def test_sessions_are_numbers_however_they_are_written(tmp_path: Path) -> None:
    assert list(
        coded(tmp_path, ["x,p,01,1", "x,p,2.0,1", "x,p, 3,1"]).scores.ratings["session"]
    ) == [1, 2, 3]
    with pytest.raises(InputError, match="line 3: expected each rating once, session 'x/p/1/1'"):
        coded(tmp_path, ["x,p,01,1", "x,p,1.0,1"])
    with pytest.raises(
        InputError,
        match="line 2, column Session: expected a whole number from 1 for session, found 1e",
    ):
        coded(tmp_path, ["x,p,9999999999,1"])


def test_names_that_differ_in_blanks_or_case_count_as_different_and_are_said(
    tmp_path: Path,
) -> None:
    read = coded(tmp_path, ["x,A,1,1", "x,A ,1,1", "x,a,1,1"])
    assert list(read.scores.ratings["patient"]) == ["A", "A ", "a"]
    assert read.notices == ("column Client: 'A' and 'A ' count as different, as they are written",)


def test_the_signs_that_join_keys_are_no_part_of_them(tmp_path: Path) -> None:
    ratings = coded(
        tmp_path, ["a/b,c,1,1", "a,b/c,1,2", "a|b,c,1,3", "a,b|c,1,4", "a%2Fb,c,1,5"]
    ).scores.ratings
    assert ratings["session_key"].nunique() == 5
    assert (
        coded(tmp_path, ["a|b,c,1,3", "a,b|c,1,4"]).scores.sessions("plain")["chain"].nunique() == 2
    )


def test_two_models_are_not_one_arm_for_their_names(tmp_path: Path) -> None:
    rows = [
        {"model": model, "variant": variant, "who": "p", "t": "5"}
        for model, variant in (("a-b", "c"), ("a", "b-c"))
    ]
    columns = {"model": "model", "variant": "variant", "patient": "who"}
    with pytest.raises(
        InputError,
        match="line 3: expected one level of each factor for each arm, arm 'a-b-c' is model 'a-b', "
        "variant 'c' and model 'a', variant 'b-c'",
    ):
        read(tmp_path, rows, columns=columns, patterns=[], values={}, items={}, total="t")


def test_an_id_that_missing_lists_is_refused_and_can_be_had(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="line 2, column Client: expected a value for patient, found an empty cell"
    ):
        coded(tmp_path, ["x,NA,1,1"])
    assert list(coded(tmp_path, ["x,NA,1,1"], missing=[""]).scores.ratings["patient"]) == ["NA"]


def test_text_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2, column Client: expected text, found"):
        coded(tmp_path, ["x,'\\\\ud800,1,1"], escaped=True)


def test_more_scheduled_sessions_than_anybody_holds(tmp_path: Path) -> None:
    lines = [f"x{n},p{n},1,1" for n in range(1000)]
    with pytest.raises(
        InputError, match=r"scheduled\.sessions: expected at most .* found 1000 x 1000 x 1 x 1000"
    ):
        coded(tmp_path, lines, scheduled={"sessions": 1000})
