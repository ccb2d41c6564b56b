"""What units are made from: one whose record differs from what is there is owed, and nothing else
is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.prompts import Prompts
from cbt_ray.store import Store, open_store
from cbt_ray.study.endpoint import FINETUNED
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.study import Budget
from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.keys import Keys
from cbt_ray.work.origin import Origins
from cbt_ray.work.survey import Entry, State, Survey
from cbt_ray.work.workplace import Workplace
from cbt_ray.work.workshop import Workshop
from tests.study.example import loaded

pytestmark = pytest.mark.slow

ARMS = [
    {"name": "plain", "model": "smollm2"},
    {"name": "tuned", "model": "smollm2", "tuned": True, "endpoint": "made"},
]
PHASES = [{"name": "all", "sessions": [1, 3], "goals": "goals", "techniques": "techniques"}]
STUDY = loaded(
    phases=PHASES,
    sessions__count=3,
    arms=ARMS,
    endpoints__made={"kind": "llama_cpp", "gguf": FINETUNED},
    raters__judge__probes={"which": ["swapped"], "sessions": 1},
    patients__simulated__1={
        "name": "Marcus Adeyemi",
        "profile": "34, a bus driver and father of two who broods on shift.",
    },
)
KEYS = Keys(STUDY, Prompts())
DONE, REJECTED, NOT_REACHED, OWED = State


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that holds a whole study."""
    store = open_store(str(tmp_path))
    for keys in KEYS.all().values():
        for key in keys:
            put(store, key)
    assert all(
        entry.state is DONE for entries in Survey(KEYS, store).stages.values() for entry in entries
    )
    return store


def put(
    store: Store, key: Key, content: Mapping[str, Any] | None = None, reason: str | None = None
) -> None:
    """A unit, made from what is there of its inputs."""
    made_from = {str(one): unit.digest for one, unit in store.get_many(KEYS.inputs(key)) if unit}
    status = Status.REJECTED if reason else Status.DONE
    said = {"key": str(key)} if content is None else dict(content)
    Origins(KEYS, store).put(Unit(key, said, status, reason, made_from=made_from))


def replaced(
    store: Store, key: Key, content: Mapping[str, Any] | None = None, reason: str | None = None
) -> None:
    """As if it had been made again past everything that looks after it."""
    known = store.get(key)
    assert known is not None
    store.delete(str(key))
    said = {"other": 1} if content is None else dict(content)
    status = Status.REJECTED if reason else Status.DONE
    store.put(Unit(key, said, status, reason, made_from=known.made_from))


def owed(store: Store) -> dict[Key, Entry]:
    survey = Survey(KEYS, store)
    return {
        entry.key: entry
        for entries in survey.stages.values()
        for entry in entries
        if entry.state is OWED
    }


CHAIN = KEYS.chain(*next(chain for chain in KEYS.chains() if chain[0].name == "tuned"))
(RATING,) = KEYS.ratings_of(CHAIN[0])
TUNED, DATASET = KEYS.model(Checkpoint("smollm2", True)), KEYS.dataset()
ADAPTER = KEYS.adapter(Checkpoint("smollm2", True))
END = {KEYS.analysis(), KEYS.report()}
DIRECT = {
    KEYS.profile(1): {KEYS.course(1, 1), KEYS.course(1, 2), KEYS.report()},
    KEYS.course(1, 1): {KEYS.course(1, 2), DATASET, KEYS.report()},
    KEYS.course(2, 2): {DATASET, KEYS.report()},
    DATASET: {ADAPTER, KEYS.report()},
    ADAPTER: {TUNED, KEYS.report()},
    TUNED: {
        key for chain in KEYS.chains() if chain[0].name == "tuned" for key in KEYS.chain(*chain)
    }
    | {KEYS.report()},
    CHAIN[0]: {CHAIN[1], RATING, *END},
    CHAIN[2]: {*KEYS.ratings_of(CHAIN[2]), *END},
    RATING: END,
    KEYS.analysis(): {KEYS.report()},
}
"""A unit -> those that are made from it and from no other one that is owed with it."""


@pytest.mark.parametrize("key", DIRECT, ids=lambda key: f"{key.stage}-{key.id}")
def test_what_was_made_from_another_text_is_owed_and_says_why(key: Key, store: Store) -> None:
    replaced(store, key)
    found = owed(store)
    outdated = {one for one, entry in found.items() if entry.outdated}
    probes = {
        KEYS.probe(*probe) for probe in KEYS.probes() if key in KEYS.inputs(KEYS.probe(*probe))
    }
    assert outdated == DIRECT[key] | probes
    assert all(f"made from another {key.stage} {key.id}" == found[one].why for one in outdated)
    assert not any(
        entry.outdated or "which is owed" not in (entry.why or "")
        for one, entry in found.items()
        if one not in outdated
    )
    assert {one.stage for one in found} >= {KEYS.report().stage}


def test_a_unit_that_waits_stays_if_what_it_was_made_from_comes_out_as_it_was(store: Store) -> None:
    known = store.get(CHAIN[0])
    assert known is not None
    store.delete(str(CHAIN[0]))
    waiting = owed(store)
    assert set(CHAIN) <= set(waiting)
    assert not any(entry.outdated for entry in waiting.values())
    assert waiting[CHAIN[1]].why == f"made from sessions {CHAIN[0].id}, which is owed"
    put(store, CHAIN[0], known.content)
    assert owed(store) == {}


def test_before_a_unit_is_written_what_was_made_from_another_one_is_moved_aside(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.delete(str(CHAIN[0]))
    put(store, CHAIN[0], {"other": 1})
    gone = {key for keys in KEYS.all().values() for key in keys if store.get(key) is None}
    probes = {
        KEYS.probe(*probe) for probe in KEYS.probes() if CHAIN[0] in KEYS.inputs(KEYS.probe(*probe))
    }
    assert gone == {CHAIN[1], RATING, *END} | probes
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"{KEYS.report()}: made from another sessions {CHAIN[0].id}; moved aside", (
        "conclusions go first"
    )
    assert len(said) == len(gone)


def test_a_model_of_another_dataset_is_trained_again_and_the_line_says_so(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.delete(str(DATASET))
    put(store, DATASET, {"other": 1})
    assert (
        f"{ADAPTER}: made from another dataset session; moved aside; it is trained again"
        in caplog.text
    )
    assert store.get(ADAPTER) is None


def test_what_was_left_out_counts_once_it_is_there(store: Store) -> None:
    replaced(store, RATING, reason="malformed")
    for key in END:
        store.delete(str(key))
        put(store, key)
    assert owed(store) == {}, "concluded without it, and it is still rejected"
    replaced(store, RATING, {"total": 5})
    assert {key for key, entry in owed(store).items() if entry.outdated} == END


def test_units_after_a_rejected_one_do_not_count_and_go(store: Store) -> None:
    store.delete(str(CHAIN[0]))
    put(store, CHAIN[0], {}, reason="empty")
    survey = Survey(KEYS, store)
    after = {CHAIN[1], CHAIN[2], *(key for one in CHAIN for key in KEYS.ratings_of(one))}
    states = {entry.key: entry for entries in survey.stages.values() for entry in entries}
    assert all(states[key].state is NOT_REACHED for key in after)
    Origins(KEYS, store).set_aside(survey.outdated())
    assert all(store.get(key) is None for key in after)


def test_nothing_is_moved_aside_for_the_loser_of_a_race(store: Store) -> None:
    before = {path: store.read(path) for path in store.list("")}
    known = store.get(CHAIN[0])
    assert known is not None
    winner = Origins(KEYS, store).put(Unit(CHAIN[0], {"mine": 1}, made_from=known.made_from))
    assert winner == known
    assert {path: store.read(path) for path in store.list("")} == before


def test_inputs_that_are_not_those_of_the_key_are_a_fault_of_the_program(store: Store) -> None:
    place = Workplace(Workshop(STUDY, store, gate_of(Meter(STUDY.endpoints, Budget()))))
    with pytest.raises(ValueError, match="which are not its inputs"):
        place.make(RATING, [], dict)
    with pytest.raises(ValueError, match="which are not its inputs"):
        place.make(CHAIN[1], [place.known(CHAIN[0])], dict)


def test_every_unit_is_derived_from_units_of_earlier_stages_or_links_and_back() -> None:
    order = {
        key: number
        for number, key in enumerate(key for keys in KEYS.all().values() for key in keys)
    }
    for key in order:
        assert all(order[one] < order[key] for one in KEYS.inputs(key))
        assert all(key in KEYS.made_of(one) for one in KEYS.inputs(key))
    for key in order:
        made = [order[one] for one in KEYS.made_of(key)]
        assert made == sorted(made, reverse=True), "what is concluded last comes first"
    made_of_nothing = {
        stage for stage, keys in KEYS.all().items() if keys and not any(map(KEYS.inputs, keys))
    }
    assert made_of_nothing == {Stage.PROFILES}
