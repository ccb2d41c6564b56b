"""A cell of a table: a number as people write it; text that a spreadsheet takes for a formula."""

from __future__ import annotations

import re

LONGEST_NUMBER = 100
LONGEST_SHOWN = 60
_NUMBER = {
    sign: re.compile(
        rf"[+-]?(?:[0-9]+(?:{re.escape(sign)}[0-9]*)?|{re.escape(sign)}[0-9]+)"
        r"(?:[eE][+-]?[0-9]{1,4})?"
    )
    for sign in ".,"
}
_FORMULA = re.compile(r"'|[\t\r\n]|\s*[=+\-@＝＋－＠]")  # noqa: RUF001  spreadsheets of East Asia take the wide signs, too
UNFIT = re.compile("[\0\ud800-\udfff]")
"""What a text in UTF-8 cannot hold, or a spreadsheet cuts it at: NUL, half a surrogate pair."""
_ESCAPED = re.compile(r"\\(\\|u[0-9a-f]{4})")


def number_of(cell: str, decimal: str = ".") -> float | None:
    """The finite number that a cell holds, with this decimal sign; None where it holds none."""
    text = cell.strip()
    if len(text) > LONGEST_NUMBER or not _NUMBER[decimal].fullmatch(text):
        return None
    value = float(text.replace(",", "."))
    return value if abs(value) != float("inf") else None


def shown(cell: str) -> str:
    """A cell as messages quote it: on one line, and not longer than people read."""
    return repr(cell if len(cell) <= LONGEST_SHOWN else f"{cell[:LONGEST_SHOWN]}...")


def not_a_number(cell: str, decimal: str = ".") -> str:
    """What is wrong with a cell that holds no number, and which field would make it one."""
    other = "," if decimal == "." else "."
    hint = f"; where {other!r} is the decimal sign, the mapping says `decimal: '{other}'`"
    return f"expected a number, found {shown(cell)}" + (
        hint if number_of(cell, other) is not None else ""
    )


def escaped(text: str) -> str:
    """The text as a cell that a spreadsheet shows as text: `'` before a formula, and before `'`."""
    if UNFIT.search(text):
        plain = UNFIT.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\\", "\\\\"))
        return f"'\\{plain}"
    return f"'{text}" if _FORMULA.match(text) else text


def unescaped(cell: str) -> str:
    """The text that `escaped` made this cell of; a cell that it cannot have made is the text."""
    if not cell.startswith("'"):
        return cell
    if cell.startswith("'\\"):
        return _ESCAPED.sub(
            lambda found: "\\" if found[1] == "\\" else chr(int(found[1][1:], 16)), cell[2:]
        )
    return cell[1:] if _FORMULA.match(cell, 1) else cell
