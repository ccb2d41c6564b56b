"""Units to store, and what the processes of the racing tests do."""

from __future__ import annotations

import os
from typing import Any

from cbt_ray.store import open_store
from cbt_ray.unit import Key, Stage, Status, Unit


def key(name: str = "p1", h16: str = "0123456789abcdef", stage: Stage = Stage.COURSES) -> Key:
    return Key("demo", stage, name, h16)


def unit(name: str = "p1", **content: Any) -> Unit:
    return Unit(
        key(name),
        content or {"text": "Grüße, 治療", "turns": [1, 2.5, None]},
        provenance={"calls": 3},
        made_from={},
    )


def rejected(name: str = "p2") -> Unit:
    return Unit(key(name), {}, Status.REJECTED, "no_agenda", made_from={})


def race(url: str, rounds: int, barrier: Any, results: Any) -> None:
    """Write one unit a round at the same moment as all others: (round, who I am, whose unit the
    store has).
    """
    store = open_store(url)
    store.get(key("warm"))
    for number in range(rounds):
        barrier.wait(60)
        mine = Unit(key(f"race{number}"), {"by": os.getpid()}, made_from={})
        results.put((number, os.getpid(), store.put(mine).content["by"]))


def repair(url: str, _: int, barrier: Any, results: Any) -> None:
    """Meet a torn document at the same moment as all others and do the unit again."""
    store = open_store(url)
    store.get(key("warm"))
    barrier.wait(60)
    found = store.get(key("torn"))
    made = (
        found
        if found is not None
        else store.put(Unit(key("torn"), {"by": os.getpid()}, made_from={}))
    )
    results.put((0, os.getpid(), made.content["by"]))
