"""The scale is data: the CTRS of the published study, and what is refused in a scale's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.scale import load_scale, scale_files

WORDS = (
    "Severely Deficient",
    "Very Poor",
    "Poor",
    "Unsatisfactory",
    "Below Average",
    "Adequate",
    "Good",
    "Very Good",
    "Excellent",
    "Outstanding",
)
ITEMS = (
    "agenda",
    "feedback",
    "understanding",
    "interpersonal_effectiveness",
    "collaboration",
    "pacing",
    "guided_discovery",
    "key_cognitions",
    "strategy_for_change",
    "techniques",
    "homework",
)
CTRS = load_scale(Prompts(), "ctrs")


def test_eleven_items_each_with_a_title_and_a_question() -> None:
    assert tuple(item.id for item in CTRS.items) == ITEMS
    assert all(item.title and item.question.strip() for item in CTRS.items)


@pytest.mark.parametrize(("score", "word"), list(enumerate(WORDS, 1)))
def test_ten_words_score_one_to_ten_and_each_has_an_anchor(score: int, word: str) -> None:
    assert CTRS.words[score - 1].word == word
    assert CTRS.words[score - 1].anchor
    assert CTRS.score(word) == CTRS.score(f" {word.upper()} ") == score
    assert len(CTRS.words) == 10


@pytest.mark.parametrize("word", ["", "Fair", "10", "Very", "Good.", "Good enough", "VeryGood"])
def test_any_other_word_has_no_score(word: str) -> None:
    assert CTRS.score(word) is None


def test_every_file_of_a_scale_is_in_its_version() -> None:
    assert scale_files(Prompts(), "ctrs") == [
        "ctrs/scale.yaml",
        *(f"ctrs/{item}.yaml" for item in ITEMS),
    ]


GOOD: dict[str, Any] = {
    "title": "T",
    "instructions": "I",
    "items": ["one", "two"],
    "words": [{"word": "Poor", "anchor": "a"}, {"word": "Good", "anchor": "b"}],
}


def written(
    folder: Path, scale: dict[str, Any], item: str = "title: One\nquestion: One?"
) -> Prompts:
    (folder / "own").mkdir()
    (folder / "own" / "scale.yaml").write_text(yaml.safe_dump(scale))
    for name in ("one", "two"):
        (folder / "own" / f"{name}.yaml").write_text(item)
    return Prompts(folder)


def test_scale_of_ones_own(tmp_path: Path) -> None:
    scale = load_scale(written(tmp_path, GOOD), "own")
    assert [scale.score(word) for word in ("Poor", "Good", "Adequate")] == [1, 2, None]
    assert [item.id for item in scale.items] == ["one", "two"]


@pytest.mark.parametrize(
    ("changes", "item", "expected"),
    [
        ({"title": None}, "title: One\nquestion: One?", "scale.yaml: title: expected a value"),
        ({}, "title: One", "one.yaml: question: expected a value"),
        ({}, "title: One\nquestion: One?\nweight: 2", "one.yaml: weight: unknown field"),
        ({}, "title: 2024\nquestion: One?", "one.yaml: title: expected text, found 2024"),
        (
            {"words": [{"word": "Poor", "anchor": "a"}]},
            "title: One\nquestion: One?",
            "words: expected at least 2 of them",
        ),
        (
            {"words": [{"word": 1, "anchor": "a"}, {"word": 2, "anchor": "b"}]},
            "title: One\nquestion: One?",
            "words.0.word: expected text, found 1\n.*words.1.word: expected text, found 2",
        ),
        ({"items": ["../../x"]}, "title: One\nquestion: One?", "items.0: String should match"),
        ({}, "title: [", "expected YAML"),
        ({}, "- title", "expected a mapping"),
        ({"items": ["one", "one"]}, "title: One\nquestion: One?", "items: expected each item once"),
        ({"items": []}, "title: One\nquestion: One?", "items: expected at least 1 of them"),
        (
            {"items": ["three"]},
            "title: One\nquestion: One?",
            "three.yaml: expected a prompt file, there is none",
        ),
        ({"words": []}, "title: One\nquestion: One?", "words: expected at least 2 of them"),
        (
            {"words": [{"word": "Poor"}]},
            "title: One\nquestion: One?",
            "words.0.anchor: expected a value",
        ),
        (
            {"words": [{"word": "Poor", "anchor": "a"}, {"word": "POOR", "anchor": "b"}]},
            "title: One\nquestion: One?",
            "words: expected each word once",
        ),
    ],
)
def test_faulty_scale_names_its_file(
    changes: dict[str, Any], item: str, expected: str, tmp_path: Path
) -> None:
    scale = {name: value for name, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(InputError, match=expected) as caught:
        load_scale(written(tmp_path, scale, item), "own")
    assert str(tmp_path / "own") in str(caught.value)
