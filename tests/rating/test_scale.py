"""The scale is data: the CTRS of the published study, and what is refused in a scale's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.scale_file import load_scale, scale_files

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
    assert CTRS.steps[score - 1].word == word
    assert CTRS.steps[score - 1].anchor
    for item in CTRS.items:
        assert item.read(word) == item.read(f" {word.upper()} ") == (score, None)
    assert len(CTRS.steps) == 10


@pytest.mark.parametrize("word", ["", "Fair", "10", "Very", "Good.", "Good enough", "VeryGood"])
def test_any_other_word_has_no_score(word: str) -> None:
    assert CTRS.items[0].read(word) == (None, "unknown_word")


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
    "measures": {"total": {"sum": "all"}},
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
    assert [scale.items[1].read(word)[0] for word in ("Poor", "Good", "Adequate")] == [1, 2, None]
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
        ({"items": ["one", "one"]}, "title: One\nquestion: One?", "items: expected each once"),
        ({"items": []}, "title: One\nquestion: One?", "items: expected at least 1 of them"),
        (
            {"items": ["three"]},
            "title: One\nquestion: One?",
            "three.yaml: expected a prompt file, there is none",
        ),
        ({"words": []}, "title: One\nquestion: One?", "words: expected at least 2 of them"),
        (
            {"words": [{"word": "Poor"}, {"anchor": "b"}]},
            "title: One\nquestion: One?",
            "words.1.word: expected a value",
        ),
        (
            {"words": [{"word": "Poor", "anchor": "a"}, {"word": "POOR", "anchor": "b"}]},
            "title: One\nquestion: One?",
            "words.1.word: expected each word once",
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


# ---- numbers, counts and measures ----------------------------------------------------------------


def inline(folder: Path, **changes: Any) -> Prompts:
    """A scale in one file: a number, a count, words with scores of their own."""
    scale = {
        "title": "T",
        "instructions": "I",
        "numbers": [0, 3],
        "items": {
            "one": {"title": "One", "question": "How much?", "anchors": {0: "none", 3: "all"}},
            "two": {"title": "Two", "question": "How many?", "count": True},
            "three": {
                "title": "Three",
                "question": "How?",
                "words": [{"word": "No", "score": -1}, {"word": "Hm"}, {"word": "Yes", "score": 5}],
            },
        },
        "measures": {"total": {"sum": ["one", "three"]}, "each": {"ratio": ["one", "two"]}},
    }
    for way, value in changes.items():
        *path, last = way.split("__")
        node: Any = scale
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    (folder / "own").mkdir()
    (folder / "own" / "scale.yaml").write_text(yaml.safe_dump(scale, sort_keys=False))
    return Prompts(folder)


def test_items_of_each_kind_in_one_file(tmp_path: Path) -> None:
    prompts = inline(tmp_path)
    scale = load_scale(prompts, "own")
    assert scale_files(prompts, "own") == ["own/scale.yaml"]
    one, two, three = scale.items
    assert [(item.kind, item.ends) for item in scale.items] == [
        ("numbers", (0, 3)),
        ("count", (0, None)),
        ("words", (-1, 5)),
    ]
    assert [step.anchor for step in one.steps] == ["none", "", "", "all"]
    assert (two.read(7), three.read("hm"), three.read("Yes")) == ((7, None), (0, None), (5, None))
    told = prompts.render("judge.j2", scale=scale)
    assert "Numbers from 0 to 3:\n  - 0: none\n  - 3: all\n" in told
    assert "the number or the count or the word that it asks for." in told
    assert told.count("Numbers from") == 1  # no item is left that goes by the whole scale's


FAULTS: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({"numbers": [3, 3]}, ("numbers: expected [lowest, highest], 2 to 200 whole numbers",)),
    ({"numbers": [0, 1]}, ("items.one.anchors.3: expected a number from 0 to 1",)),
    (
        {"items__two__numbers": [0, 1]},
        ("items.two.words: expected only one of words, numbers and",),
    ),
    (
        {"items__three__words": [{"word": "No"}, {"word": "Yes", "score": 1}]},
        ("items.three.words.1.score: expected each score once, found 1 twice",),
    ),
    ({"items__one__anchors": {"7": "x"}}, ("items.one.anchors.7: expected a number from 0 to 3",)),
    ({"items__two__anchors": {"0": "x"}}, ("items.two.anchors: expected numbers with them",)),
    ({"measures": {}}, ("measures: expected at least 1 of them",)),
    ({"measures__total": {"sum": "all", "mean": "all"}}, ("measures.total: expected one of sum,",)),
    ({"measures__total": {}}, ("measures.total: expected one of sum, mean and ratio, found none",)),
    ({"measures__total__sum": []}, ("measures.total.sum: expected at least 1 of them",)),
    ({"measures__total__sum": ["one", "one"]}, ("measures.total.sum: expected each once",)),
    ({"measures__one": {"sum": "all"}}, ("measures.one: expected another name than that of an",)),
    ({"measures__all": {"sum": ["one"]}}, ("expected no item or measure called all",)),
    ({"measures__total__times": 0}, ("measures.total.times: expected another number than 0",)),
    ({"measures__total__rescale": [9, 0]}, ("measures.total.rescale: expected [lowest, highest]",)),
    (
        {"measures__each__rescale": [0, 1]},
        ("measures.each.rescale: expected parts with a lowest and a highest value",),
    ),
    (
        {"measures__total__sum": ["one", "each"], "measures__each__ratio": ["total", "two"]},
        ("measures.total: expected no measure that is made of itself, found total of each of",),
    ),
    (
        {
            "measures__total__sum": ["won"],
            "measures__each__ratio": ["one", "tow"],
            "items__one__anchors": {"9": "x"},
        },
        (
            "items.one.anchors.9: expected a number from 0 to 3",
            "measures.total.sum: unknown item or measure 'won', expected all or some of one, two",
            "measures.each.ratio: unknown item or measure 'tow', expected",
        ),
    ),
)


@pytest.mark.parametrize(("changes", "expected"), FAULTS)
def test_every_fault_is_said_with_file_and_field(
    changes: dict[str, Any], expected: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load_scale(inline(tmp_path, **changes), "own")
    problems = caught.value.problems
    assert len(problems) == len(expected)
    for problem, wanted in zip(problems, expected, strict=True):
        assert problem.startswith(str(tmp_path / "own" / "scale.yaml") + ": ")
        assert wanted in problem


def test_faults_of_scale_and_items_are_said_together(tmp_path: Path) -> None:
    prompts = written(tmp_path, GOOD | {"title": 7}, "title: One")
    with pytest.raises(InputError) as caught:
        load_scale(prompts, "own")
    assert [problem.partition("own/")[2] for problem in caught.value.problems] == [
        "scale.yaml: title: expected text, found 7",
        "one.yaml: question: expected a value, none given",
        "two.yaml: question: expected a value, none given",
    ]


def test_items_without_anything_to_answer_with(tmp_path: Path) -> None:
    prompts = written(tmp_path, {name: GOOD[name] for name in GOOD if name != "words"})
    with pytest.raises(InputError) as caught:
        load_scale(prompts, "own")
    assert [problem.partition("own/")[2] for problem in caught.value.problems] == [
        f"{item}.yaml: words: expected words, numbers or count, here or for the whole scale"
        for item in ("one", "two")
    ]
