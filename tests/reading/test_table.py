"""Tables: cells as they are written, and that whatever would be shifted, cut or guessed is refused
in one line.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.reading.cell import escaped, number_of, unescaped
from cbt_ray.reading.table import LONGEST_CELL, MOST_COLUMNS, Table, read_table
from cbt_ray.stages.tables import csv_of


def table(path: Path, data: bytes | str, **how: str) -> Table:
    (path / "t.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(path / "t.csv", "t.csv", **how)


def refusal(path: Path, data: bytes | str, **how: str) -> str:
    with pytest.raises(InputError) as error:
        table(path, data, **how)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_cells_are_text_character_for_character(tmp_path: Path) -> None:
    read = table(tmp_path, "id,n\n1E2,1\n100,2\n0100,3\n007,4\n A ,5\nA,6\nNA,7\nTrue,8\n")
    assert read.columns["id"] == ["1E2", "100", "0100", "007", " A ", "A", "NA", "True"]
    assert list(read.lines) == [2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark(tmp_path: Path, ends: str, mark: str) -> None:
    text = mark + ends.join(["", "id,said", '1,"one' + ends + 'two"', "", "2,three", ""])
    read = table(tmp_path, text)
    assert read.columns == {"id": ["1", "2"], "said": ["one" + ends + "two", "three"]}
    assert (read.header_line, list(read.lines)) == (2, [3, 6])
    assert read.notices == ("2 rows without any text ignored",)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "cp1252", "latin-1", "utf-8", "mac-roman", "utf-32"]
)
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    read = table(tmp_path, "id;wer\n1;Zoë\n".encode(encoding), encoding=encoding, separator=";")
    assert read.columns == {"id": ["1"], "wer": ["Zoë"]}


def test_blank_tails_of_a_spreadsheet_are_counted(tmp_path: Path) -> None:
    read = table(tmp_path, "a,b,,\n1,2,,\n,,,\n , ,,\n,,\n\n")
    assert read.columns == {"a": ["1"], "b": ["2"]}
    assert read.notices == (
        "4 rows without any text ignored",
        "2 columns with neither a name nor cells ignored",
    )
    assert read.unnamed == ()


def test_a_line_that_says_the_separator_is_no_header(tmp_path: Path) -> None:
    read = table(tmp_path, "sep=;\r\na;b\r\n1;2\r\n", separator=";")
    assert (read.columns, read.header_line, list(read.lines)) == ({"a": ["1"], "b": ["2"]}, 2, [3])


def test_a_column_with_cells_and_no_name_is_said(tmp_path: Path) -> None:
    read = table(tmp_path, ",a\n0,x\n1,y\n")
    assert (read.columns, read.unnamed) == ({"a": ["x", "y"]}, (1,))
    assert read.notices == ("column 1 has no name and is left out",)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("", "t.csv: expected a line with the names of the columns, the file is empty"),
        ("\n\n,,\n", "t.csv: expected a line with the names of the columns, the file is empty"),
        (
            "a,b\n,\n",
            "t.csv: expected at least one row under the names of the columns, there is none",
        ),
        (
            "a,b\n1,2\n1,2,3\n",
            "line 3, column 3: expected 2 cells as in the line with the names, found 3; a cell "
            "that holds ',' goes into quotes",
        ),
        ("a,b\n1,2,\n", "t.csv, line 2, column 3: expected 2 cells"),
        (
            "a,b,c\n1,2\n",
            "t.csv, line 2, column 3: expected 3 cells as in the line with the names, found 2",
        ),
        ('a,b\n"x\ny",2\n1\n', "t.csv, line 4, column 2: expected 2 cells"),
        (
            "a;b\n1,5;2\n",
            "t.csv, line 2, column 2: expected 1 cell as in the line with the names, found 2; "
            "where ';' separates",
        ),
        (
            "a,b,a\n1,2,3\n",
            "t.csv, line 1, column 3: expected each column once, 'a' is there twice",
        ),
        (
            'a,b\n1,2\n3,"4\n5,6\n',
            "t.csv, line 3: expected a closing quote, the file ends before it",
        ),
        ('a,b\n1,"2"3\n', "t.csv, line 2: expected CSV: ',' expected after '\"'"),
        ("a,b\n1,2\n3,\0\n", "t.csv, line 3: expected text, found a NUL character"),
        (
            b"a,b\n1,2\n3,\xe9\n",
            "t.csv, line 3: expected text in UTF-8, found the byte 0xe9; where it is another "
            "encoding, the",
        ),
        ("a,b\n".encode("utf-16"), "the mapping says which: `encoding: utf-16`"),
        (
            "a,b\n".encode("utf-16-le"),
            "t.csv, line 1: expected text, found a NUL character (UTF-16? Then",
        ),
        (
            b"PK\x03\x04\0\0",
            "t.csv: expected a CSV file, found a workbook or an archive; save the sheet as CSV",
        ),
        (
            "a\n" + "x" * (LONGEST_CELL + 1),
            "t.csv, line 2: expected at most 1,000,000 characters in a cell",
        ),
        (
            "a,b\n1,2\n" + "x," * 9_000_000,
            "t.csv, line 3: expected at most 16,000,000 characters in a row",
        ),
        (
            ",".join(map(str, range(MOST_COLUMNS + 1))),
            f"t.csv, line 1: expected at most {MOST_COLUMNS:,} columns",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, data: bytes | str, line: str) -> None:
    assert line in refusal(tmp_path, data)


def test_many_rows_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbt_ray.reading.table.MOST_ROWS", 100)
    assert len(table(tmp_path, "a\n" + "1\n" * 100)) == 100
    for rows in ("1\n" * 101, "\n" * 102):
        assert "expected at most 100 rows" in refusal(tmp_path, "a\n" + rows)


def test_equal_cells_are_equal_across_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbt_ray.reading.table.AT_ONCE", 7)
    monkeypatch.setattr("cbt_ray.reading.table.MOST_KNOWN", 10)
    rows = [(str(n), "xy"[n % 2] * 3) for n in range(50)]
    read = table(tmp_path, "id,name\n" + "".join(f"{n},{name}\n" for n, name in rows))
    assert list(zip(*read.columns.values(), strict=True)) == rows
    assert list(read.lines) == list(range(2, 52))


# --- numbers


@pytest.mark.parametrize(
    ("cell", "value"),
    [("3", 3), (" 2.5 ", 2.5), ("-1.", -1), (".5", 0.5), ("+1e2", 100), ("007", 7)],
)
def test_a_number(cell: str, value: float) -> None:
    assert number_of(cell) == value
    assert number_of(cell.replace(".", ","), ",") == value


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "x",
        "1,5",
        "1.2.3",
        "1_000",
        "1 000",
        "nan",
        "inf",
        "1e999",
        "\u0663",
        "0x10",
        "True",
        "--1",
        "1" * 200,
        "1e",
    ],
)
def test_what_is_no_number(cell: str) -> None:
    assert number_of(cell) is None


def test_a_point_is_no_decimal_comma() -> None:
    assert number_of("1.500", ",") is None


# --- what spreadsheets take for formulas


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x","y")',
        "+1",
        "-1.5",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\uff1d1",
        "'",
        "'007",
        "'=1",
        "''",
    ],
)
def test_a_formula_is_written_as_text_and_read_back(text: str) -> None:
    assert escaped(text) == f"'{text}"
    assert unescaped(escaped(text)) == text


@pytest.mark.parametrize("text", ["", "x", "1E2", "007", "a=1", "3-4", "\\", "\\u0000", "end'"])
def test_other_text_is_written_as_it_is(text: str) -> None:
    assert escaped(text) == text
    assert unescaped(text) == text


def test_a_cell_that_we_cannot_have_written_is_taken_as_it_is() -> None:
    assert unescaped("'007") == "'007"
    assert unescaped("'s") == "'s"


def test_any_text_comes_back_from_a_table(tmp_path: Path) -> None:
    """4,000 texts of the signs that CSV, spreadsheets, UTF-8 and our own rule treat otherwise."""
    signs = [
        '"',
        "'",
        "\r",
        "\n",
        "\t",
        "\0",
        "\ud800",
        "\udfff",
        "=",
        "+",
        "-",
        "@",
        ",",
        ";",
        "\\",
        "u0000",
        " ",
        "x",
        "é",
        "😀",
        "\uff1d",
    ]
    draw = random.Random(12)
    texts = ["".join(draw.choices(signs, k=draw.randint(0, 6))) for _ in range(4000)]
    rows = [{"id": f"r{n}", "said": text, "score": -1.5} for n, text in enumerate(texts)]
    (tmp_path / "t.csv").write_bytes(csv_of(rows))
    read = read_table(tmp_path / "t.csv", own=True)
    assert read.columns["said"] == texts
    assert set(read.columns["score"]) == {"-1.5"}
    plain = read_table(tmp_path / "t.csv")
    assert not [
        cell
        for cell in plain.columns["said"]
        if cell.strip()[:1] in [*"=+-@\uff1d"] or cell[:1] in [*"\t\r\n"]
    ]


def test_names_of_columns_are_written_as_text_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(
        csv_of([{"=1+1": 1, "b": {"c": 2, "d": [1, "x"]}}, {"=1+1": "", "b": {"c": 3}}])
    )
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == "'=1+1,b.c,b.d"
    assert read_table(tmp_path / "t.csv", own=True).columns == {
        "=1+1": ["1", ""],
        "b.c": ["2", "3"],
        "b.d": ['[1, "x"]', ""],
    }
