"""How long a stage takes on so many nodes: the engine's rules worked through on paper.

Chains are given out in order to whoever has room; a chain's calls follow each other, each as long
as its endpoint's expected speed says and what a call costs besides. docs/scale.md has what these
costs were measured as, and how far the forecast was from what a cluster took.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from cbt_ray.planning.calls import StageCalls
from cbt_ray.study import Study
from cbt_ray.work.engine import chains_per_worker, needs_of

CALL_S = 0.0013
"""Seconds of CPU that a call takes on its worker, its share of the store included."""
COMMAND_S = 0.00003
"""Seconds of CPU that a call takes in the command, which leases leave to call."""


@dataclass(frozen=True)
class Nodes:
    """Machines that are alike: how many, and CPUs of each."""

    number: int
    cores: int


@dataclass(frozen=True)
class Forecast:
    """From a stage's first call to its last answer, and what it would have to have more of to be
    faster.
    """

    seconds: float
    at_once: int
    limit: str


def forecast(study: Study, stage: StageCalls, nodes: Nodes) -> Forecast:
    """How long a stage's calls take there."""
    workers, each = _workers(study, stage, nodes)
    at_once = min(sum(same.number for same in stage.chains), workers * each)
    ramp = CALL_S * -(-at_once // workers)  # the first calls of a worker's chains begin in a row
    lengths = [(same.number, same.seconds(study, CALL_S)) for same in stage.chains]
    given_out, longest = _last_end(lengths, at_once), max(length for _, length in lengths)
    bounds = [
        (ramp + given_out, "room for chains" if given_out > longest else "the longest chain"),
        (stage.calls * CALL_S / workers, "CPU of workers"),
        (stage.calls * COMMAND_S, "the command"),
        *((seconds, f"what {name} bears") for name, seconds in stage.bounds(study)),
    ]
    seconds, limit = max(bounds)
    return Forecast(seconds, at_once, limit)


def _workers(study: Study, stage: StageCalls, nodes: Nodes) -> tuple[int, int]:
    """Workers, and chains that each has under way at once."""
    needs = needs_of(study, stage.roles)
    room = 1 if needs.only_waits else nodes.cores // needs.cpus
    workers = study.engine.workers or max(1, nodes.number * room)
    return workers, chains_per_worker(study, needs, workers)


def _last_end(chains: Sequence[tuple[int, float]], room: int) -> float:
    """When the last chain ends if each begins where there is room first."""
    ends = [0.0] * min(room, sum(number for number, _ in chains))
    for number, length in chains:
        for _ in range(number):
            heapq.heapreplace(ends, ends[0] + length)
    return max(ends)
