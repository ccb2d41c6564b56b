"""Examples and their split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.study.model import Dataset
from cbt_ray.study.split import Split
from cbt_ray.therapy.session import Session, Turn, therapist_messages
from cbt_ray.training.dataset import Splits, alpaca, build, read, write
from tests.therapy.spoken import WORDS
from tests.training.sessions import PAIRS, SYSTEM, by_patient, course, make_session


def _system(session: Session) -> str:
    return f"{SYSTEM} Session {session.number}."


def _patients(splits: Splits) -> list[set[str]]:
    return [
        {example["patient"] for example in part}
        for part in (splits.train, splits.held_out, splits.test)
    ]


@pytest.mark.parametrize("count", [2, 3, 4, 9, 58])
@pytest.mark.parametrize("test", [0.0, 0.1])
def test_no_patient_is_in_two_splits(count: int, test: float) -> None:
    sessions = [session for number in range(count) for session in course(f"p{number:02d}")]
    splits = build(by_patient(sessions), Dataset(test=test), _system, WORDS)
    train, held, tested = _patients(splits)
    assert not train & held
    assert not train & tested
    assert not held & tested
    assert len(train | held | tested) == count
    assert len(held) == max(1, round(0.1 * count))
    assert len(tested) == (0 if test == 0 or count == 2 else max(1, round(0.1 * count)))
    assert train
    assert sum(splits.counts.values()) == 2 * count


@pytest.mark.parametrize("format_", ["session", "turn", "paper"])
def test_nothing_is_held_out_where_nothing_is_asked_for(format_: str) -> None:
    sessions = by_patient([one for name in "abcde" for one in course(name)])
    settings = Dataset.model_validate({"format": format_, "held_out": 0, "test": 0.2})
    splits = build(sessions, settings, _system, WORDS)
    assert not splits.held_out
    assert 5 * len(splits.test) == len(splits.train) + len(splits.test)


def test_patients_of_one_name_are_two() -> None:
    courses = {f"p{number:02d}": course(f"name {number % 3}") for number in range(20)}
    splits = build(courses, Dataset(), _system, WORDS)
    assert splits.counts == {"train": 36, "held_out": 4, "test": 0}
    assert sorted(set().union(*_patients(splits))) == sorted(courses)


def test_one_patient_is_trained_on() -> None:
    assert build(by_patient(course("only")), Dataset(test=0.1), _system, WORDS).counts == {
        "train": 2,
        "held_out": 0,
        "test": 0,
    }


def test_split_depends_on_the_seed_and_not_on_the_order() -> None:
    sessions = [session for number in range(12) for session in course(f"p{number:02d}")]
    assert build(by_patient(sessions), Dataset(), _system, WORDS) == build(
        by_patient(sessions[::-1]), Dataset(), _system, WORDS
    )
    held = [
        _patients(build(by_patient(sessions), Dataset(seed=seed), _system, WORDS))[1]
        for seed in range(6)
    ]
    assert any(one != held[0] for one in held)


def test_a_session_example_is_what_the_therapist_sees() -> None:
    one = make_session("p", 2, opening="Before.")
    (example,) = build(by_patient([one]), Dataset(), _system, WORDS).train
    expected = therapist_messages(_system(one), one.opening, one.turns, WORDS)
    assert example == {
        "patient": "p",
        "session": 2,
        "messages": [message.to_json() for message in expected],
    }


def test_a_turn_is_an_example_and_none_of_what_was_not_said_is_in_a_history() -> None:
    one = make_session("p", 2, opening="Before.")
    secret = "She avoids it."
    turns = [replace(turn, hidden=(("thinking", secret),)) for turn in one.turns]
    settings = Dataset(format="turn", held_out=0)

    def written(turn: Turn) -> str | None:
        return None if PAIRS[1][1] in turn.text else f"{secret} {turn.text}"

    sessions = by_patient([replace(one, turns=tuple(turns))])
    made = build(sessions, settings, _system, WORDS, written).train
    assert [example["turn"] for example in made] == [1, 5, 7], "the second lacks a part"
    for example in made:
        *before, last = example["messages"]
        assert last == {
            "role": "assistant",
            "content": f"{secret} {one.turns[example['turn']].text}",
        }
        assert before == [
            message.to_json()
            for message in therapist_messages(
                _system(one), "Before.", one.turns[: example["turn"]], WORDS
            )
        ]
        assert all(secret not in message["content"] for message in before)


def test_turns_are_split_by_patient(tmp_path: Path) -> None:
    sessions = by_patient([one for name in "abc" for one in course(name)])
    splits = build(sessions, Dataset(format="turn", held_out=0.3), _system, WORDS)
    train, held, _ = _patients(splits)
    assert (len(train), len(held), train & held) == (2, 1, set())
    assert read(write(splits, tmp_path)) == splits


def test_paper_makes_one_example_a_therapist_turn_with_the_whole_history() -> None:
    one = make_session("p", 2, opening="Before.")
    examples = build(by_patient([one]), Dataset(format="paper", held_out=0), _system, WORDS).train
    assert [example["response"] for example in examples] == [f"{answer} (p)" for _, answer in PAIRS]
    assert [len(example["history"]) for example in examples] == [2, 4, 6, 8]
    assert examples[0]["history"] == [WORDS.opened("Before."), f"Patient: {PAIRS[0][0]}"]
    text = alpaca(examples[1])
    assert (
        text.index("### Instruction:")
        < text.index(_system(one))
        < text.index("### Input:")
        < text.index("### Response:")
    )
    assert text.endswith(examples[1]["response"])


def test_paper_splits_at_random_and_leaks() -> None:
    sessions = [session for number in range(5) for session in course(f"p{number}", 5)]
    splits = build(
        by_patient(sessions), Dataset(format="paper", held_out=0.1, test=0.1), _system, WORDS
    )
    assert splits.counts == {"train": 81, "held_out": 9, "test": 10}
    assert _patients(splits)[0] & _patients(splits)[1]


def test_written_bytes_are_the_same_and_read_back(tmp_path: Path) -> None:
    sessions = course("Änne") + course("b") + course("c")
    splits = build(by_patient(sessions), Dataset(), _system, WORDS)
    write(splits, tmp_path / "one")
    write(build(by_patient(sessions[::-1]), Dataset(), _system, WORDS), tmp_path / "two")
    names = ["dataset.json", "held_out.jsonl", "train.jsonl"]  # an empty one fails elsewhere
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == names
    assert all(
        (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        for name in names
    )
    assert read(tmp_path / "one") == splits
    (tmp_path / "one" / "test.jsonl").touch()
    assert read(tmp_path / "one") == splits, "as cbt-ray wrote it before"


def test_a_line_separator_inside_a_turn_survives(tmp_path: Path) -> None:
    splits = build(
        by_patient([make_session("p", pairs=(("a\u2028b\x85c", "d\ne"),))]),
        Dataset(),
        _system,
        WORDS,
    )
    assert read(write(splits, tmp_path)) == splits


def test_a_dataset_cut_between_two_lines_is_noticed(tmp_path: Path) -> None:
    write(build(by_patient(course("a", 3) + course("b")), Dataset(), _system, WORDS), tmp_path)
    file = next(
        file
        for file in (tmp_path / "train.jsonl", tmp_path / "held_out.jsonl")
        if file.stat().st_size
    )
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="it was written with 3 examples"):
        read(tmp_path)


@pytest.mark.parametrize("harm", ["dataset.json", "train.jsonl", "held_out.jsonl"])
def test_a_torn_dataset_is_named(tmp_path: Path, harm: str) -> None:
    write(build(by_patient(course("a") + course("b")), Dataset(), _system, WORDS), tmp_path)
    file = tmp_path / harm
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=harm):
        read(tmp_path)


def test_patients_that_are_tested_are_given_and_personas_stay_together() -> None:
    sessions = [session for number in range(40) for session in course(f"p{number:02d}")]
    personas = {f"p{number:02d}": str(number // 2) for number in range(40)}
    tested = frozenset(list(personas)[:8])
    made = build(
        *(by_patient(sessions), Dataset(held_out=0.1), _system, WORDS),
        split=Split(personas, tested),
    )
    train, held_out, test = _patients(made)
    assert test == tested
    assert len(held_out) == 4  # of all 40, though drawn from those that are not tested
    assert {personas[one] for one in held_out} & {personas[one] for one in train} == set()
