"""The README and docs/ are plain: a sentence a line, narrow tables, words that are spelt right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from codespell_lib import main

from tests.docs.markdown import PAGES, ROOT, cells, prose, rows

CELL, ROW = 150, 120
"""Characters of a cell, and of a row of a table, at most."""
SENTENCES = re.compile(r"[.!?][\"')*_`]* +[*_\"'(\[`]*[A-Z]")
"""The end of a sentence with another one after it on the line."""
NO_END = re.compile(r"(?i:\b(?:vs|et al|e\.g|i\.e|cf|approx)\.)|\b[A-Z]\.|^[\s\d]*\d\. |\.\.\.")
"""Points that end no sentence: of abbreviations, of numbered items."""
ODD = {
    "behind": "after",
    "beside": "next to, with",
    r"stands?(?! for|-)": "is, says",
    "(?:is|are|was|were|be) told": "reads, says",
    "comes? along": "is included",
    "one's own": "your own",
}
"""What reads as translated -> what is meant."""
WORDS = ("commun", "fro", "leadin", "notin", "worstcase")
"""Names that codespell takes for misspelt words."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_line_has_one_sentence(page: Path) -> None:
    assert [line for line in prose(page) if SENTENCES.search(NO_END.sub("", line))] == []


@pytest.mark.parametrize(
    "line",
    ["It ends. Then it begins.", "**Once.** It attaches.", "Vs. It", "1. It", "It ends.) So"],
)
def test_two_sentences_are_noticed(line: str) -> None:
    found = SENTENCES.search(NO_END.sub("", line))
    assert (found is None) == (line in ("Vs. It", "1. It"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_narrow(page: Path) -> None:
    assert [cell for row in rows(page) for cell in cells(row) if len(cell) > CELL] == []
    assert [row for row in rows(page) if len(row) > ROW] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words_are_plain(page: Path) -> None:
    told = "\n".join(re.sub(r"`[^`]*`", "", line) for line in [*prose(page), *rows(page)])
    found = {odd: re.findall(rf"(?i).*\b{odd}\b.*", told) for odd in ODD}
    assert {odd: lines for odd, lines in found.items() if lines} == {}


def test_words_are_spelt_right() -> None:
    read = [*PAGES, *(ROOT / "prompts" / "en").glob("*.j2"), *(ROOT / "cbt_ray").glob("**/*.py")]
    assert main("--ignore-words-list", ",".join(WORDS), *map(str, read)) == 0
