"""What became of every unit: done, rejected, not reached, owed; by chain."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.prompts import Prompts
from cbt_ray.store import Store, open_store
from cbt_ray.study.model import Checkpoint
from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.keys import Keys
from cbt_ray.work.survey import State, Survey
from tests.study.example import loaded

PHASES = [{"name": "all", "sessions": [1, 3], "goals": "goals", "techniques": "techniques"}]
STUDY = loaded(phases=PHASES, courses__sessions=3, sessions__count=3, raters__judge__replicates=2)
KEYS = Keys(STUDY, Prompts())
ARMS = ("plain", "tuned")
TUNED = Keys(
    loaded(
        phases=PHASES,
        sessions__count=3,
        courses__sessions=3,
        raters__judge__replicates=2,
        arms__1={"name": "tuned", "model": "smollm2", "tuned": True},
    ),
    Prompts(),
)
DONE, REJECTED, NOT_REACHED, OWED = State


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "runs"))


def put(store: Store, *keys: Key, reason: str | None = None, **content: Any) -> None:
    """Units, made from what is there of their inputs."""
    for key in keys:
        inputs = store.get_many(KEYS.inputs(key) or TUNED.inputs(key))
        made_from = {str(one): unit.digest for one, unit in inputs if unit}
        store.put(
            Unit(
                key,
                content,
                Status.REJECTED if reason else Status.DONE,
                reason,
                made_from=made_from,
            )
        )


def states(store: Store, stage: Stage) -> list[State]:
    return [entry.state for entry in Survey(KEYS, store, [stage]).stages[stage]]


def test_all_is_owed_in_an_empty_store(store: Store) -> None:
    survey = Survey(KEYS, store)
    assert {stage: set(survey.owed(stage)) for stage in Stage} == {
        stage: set(keys) for stage, keys in KEYS.all().items()
    }
    assert all(set(survey.counts(stage)) <= {OWED} for stage in Stage)


def test_course_is_done_as_far_as_its_units_are_there(store: Store) -> None:
    put(store, KEYS.profile(1), KEYS.course(1, 1), KEYS.course(1, 2))
    assert states(store, Stage.PROFILES) == [DONE, OWED]
    assert states(store, Stage.COURSES) == [DONE, DONE, OWED, OWED, OWED, OWED]


def test_sessions_behind_a_rejected_one_are_not_reached_and_other_courses_are_not_touched(
    store: Store,
) -> None:
    put(store, KEYS.profile(1), KEYS.profile(2), KEYS.course(1, 1), KEYS.course(2, 1))
    put(store, KEYS.course(1, 2), reason="markdown")
    survey = Survey(KEYS, store)
    assert states(store, Stage.COURSES) == [DONE, REJECTED, NOT_REACHED, DONE, OWED, OWED]
    assert survey.counts(Stage.COURSES) == Counter({DONE: 2, REJECTED: 1, NOT_REACHED: 1, OWED: 2})
    assert survey.reasons(Stage.COURSES) == Counter({"markdown": 1})
    assert survey.owed(Stage.COURSES) == [KEYS.course(2, 2), KEYS.course(2, 3)]


def test_course_of_a_rejected_profile_is_not_reached(store: Store) -> None:
    put(store, KEYS.profile(2), reason="name_taken")
    survey = Survey(KEYS, store)
    assert survey.reasons(Stage.PROFILES) == Counter({"name_taken": 1})
    assert states(store, Stage.COURSES) == [OWED] * 3 + [NOT_REACHED] * 3


def test_rejected_first_session_leaves_all_behind_it_not_reached(store: Store) -> None:
    put(store, KEYS.profile(1), KEYS.profile(2))
    put(store, KEYS.course(1, 1), reason="no_agenda")
    assert states(store, Stage.COURSES) == [REJECTED, NOT_REACHED, NOT_REACHED, OWED, OWED, OWED]


def test_ratings_of_sessions_that_were_not_held_are_not_reached(store: Store) -> None:
    first, second, _ = KEYS.sessions()
    put(store, first)
    put(store, second, reason="empty")
    assert states(store, Stage.SESSIONS) == [DONE, REJECTED, NOT_REACHED]
    assert states(store, Stage.RATINGS) == [OWED, OWED] + [NOT_REACHED] * 4


def test_ratings_do_not_build_on_each_other(store: Store) -> None:
    put(store, *KEYS.sessions())
    one, _, three, *_ = KEYS.ratings()
    put(store, one, reason="no_item")
    put(store, three)
    assert states(store, Stage.RATINGS) == [REJECTED, OWED, DONE, OWED, OWED, OWED]


def test_unit_of_another_version_of_the_study_is_none_of_ours(store: Store) -> None:
    other = Keys(loaded(phases=PHASES, courses__sessions=3, sessions__count=3, seed=8), Prompts())
    put(store, *other.all()[Stage.PROFILES], *other.courses())
    assert states(store, Stage.COURSES) == [OWED] * 6


def test_torn_unit_is_owed_and_moved_aside(store: Store, tmp_path: Path) -> None:
    put(store, KEYS.profile(1), KEYS.course(1, 1), KEYS.course(1, 2))
    file = tmp_path / "runs" / str(KEYS.course(1, 1))
    file.write_bytes(file.read_bytes()[:-20])
    assert states(store, Stage.COURSES)[:3] == [OWED, OWED, OWED], (
        "what was made from it waits for it"
    )
    assert not file.exists()
    assert len(list((tmp_path / "runs" / "small" / "aside").rglob("*s01*/*"))) == 1


def test_only_the_wanted_stages_are_there(store: Store) -> None:
    assert list(Survey(KEYS, store, [Stage.RATINGS, Stage.PROFILES]).stages) == [
        Stage.PROFILES,
        Stage.RATINGS,
    ]


@pytest.mark.parametrize(
    ("before", "found"),
    [(DONE, OWED), (OWED, OWED), (REJECTED, NOT_REACHED), (NOT_REACHED, NOT_REACHED)],
)
def test_chain_behind_a_state(store: Store, before: Any, found: State) -> None:
    entries = Survey(KEYS, store, [Stage.SESSIONS]).chain(KEYS.sessions(), before)
    assert [entry.state for entry in entries] == [found] * 3


def test_sessions_of_an_arm_whose_model_failed_its_checks_are_not_reached(store: Store) -> None:
    put(store, TUNED.model(Checkpoint("smollm2", True)), reason="parity")
    survey = Survey(TUNED, store, [Stage.RATINGS, Stage.SESSIONS])
    plain, tuned = (
        {key for chain in TUNED.chains() if chain[0].name == name for key in TUNED.chain(*chain)}
        for name in ARMS
    )
    assert {
        entry.key for entry in survey.stages[Stage.SESSIONS] if entry.state is NOT_REACHED
    } == tuned
    assert set(survey.owed(Stage.SESSIONS)) == plain
    assert survey.counts(Stage.RATINGS) == Counter(
        {NOT_REACHED: 2 * len(tuned), OWED: 2 * len(plain)}
    )


def test_only_the_named_units_are_set_aside(store: Store) -> None:
    one, other = TUNED.course(1, 1), TUNED.course(2, 1)
    put(store, TUNED.profile(1), TUNED.profile(2))
    put(store, one, other, reason="markdown")
    assert [
        entry.key for entry in Survey(TUNED, store).set_rejected_aside(Stage.COURSES, among={one})
    ] == [one]
    assert (store.get(one), store.get(other) is None) == (None, False)
