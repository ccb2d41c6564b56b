"""Counts and nouns agree: the function that makes them, and that every sentence uses it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from cbt_ray.count import agreeing, many

PACKAGE = Path(__file__).parents[1] / "cbt_ray"
COUNTING = {"many", "agreeing", "counted"}
NO_NOUNS = set(
    """accepts answers as asks awaits bears begins costs covers does ends equals exists fits goes
    has holds is its keeps lacks leaves lies loads makes names needs options owes passes prefers
    rates reaches recipes renders runs says separates serves speaks takes this
    was""".split()  # noqa: SIM905
)
"""Verbs and the like, which follow a name and no count."""
MEASURED = {"hours", "intervals", "nats", "points", "seconds", "times"}
"""What follows a measured number (`1.0 points`) or a share, and no count."""
AFTER = re.compile(r"\s(?:(?!between|of|over)[a-z-]+\s)?([a-z]+s)\b(?!/)")


def sentences() -> Iterator[tuple[str, ast.expr, str]]:
    """Each number or name in a sentence of the package, and what follows it."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for value, after in pairwise(node.values):
                    if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                        where = f"{file.relative_to(PACKAGE)}:{value.lineno}"
                        yield where, value.value, str(after.value)


def is_safe(value: ast.expr) -> bool:
    """Whether it is made by a function that agrees, a limit of ours, which is never one, or the
    name of a kind.
    """
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in COUNTING
    if isinstance(value, ast.Attribute):
        return value.attr == "kind"
    named = value.value if isinstance(value, ast.Subscript) else value
    return isinstance(named, ast.Name) and named.id.isupper()


def test_no_sentence_writes_a_plural_behind_a_number_of_its_own() -> None:
    found = [
        f"{where}: {{{ast.unparse(value)}}}{after[:40]}"
        for where, value, after in sentences()
        if (noun := AFTER.match(after))
        and noun[1] not in NO_NOUNS | MEASURED
        and not is_safe(value)
    ]
    assert found == [], "cbt_ray.count.many makes a count and a noun that agree"


def test_no_template_writes_a_plural_behind_a_number_of_its_own() -> None:
    number = re.compile(r"\| (?:length|whole) \}\} (?:[a-z-]+ )?[a-z]+s\b|\w\(s\)")
    found = [
        f"{file.name}: {hit[0]}"
        for file in PACKAGE.rglob("*.j2")
        for hit in number.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_noun_is_given_in_the_singular() -> None:
    nouns = [
        ast.unparse(call.args[1])
        for file in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in COUNTING
        and len(call.args) == 2
        and isinstance(call.args[1], ast.Constant)
    ]
    assert len(nouns) > 40
    assert [noun for noun in nouns if re.search(r"[^s]s'$", noun) and noun != "'analysis'"] == []


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (0, "session", "0 sessions"),
        (1, "session", "1 session"),
        (2, "scheduled session", "2 scheduled sessions"),
        (1_000_000, "call", "1,000,000 calls"),
        (1.0, "token", "1 token"),
        (1.4, "token", "1 token"),
        (2, "reply", "2 replies"),
        (2, "day", "2 days"),
        (2, "analysis", "2 analyses"),
        (2, "patch", "2 patches"),
        (2, "loss", "2 losses"),
    ],
)
def test_a_count_and_its_noun_agree(count: float, noun: str, said: str) -> None:
    assert many(count, noun) == said


def test_an_irregular_plural_is_given() -> None:
    assert agreeing(2, "degree of freedom", "degrees of freedom") == "degrees of freedom"
    assert agreeing(1, "was", "were") == "was"
