"""How long a stage takes on nodes, against figures made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.planning.calls import Call, Chains, StageCalls
from cbt_ray.planning.nodes import CALL_S, Forecast, Nodes, forecast
from cbt_ray.study import Study
from cbt_ray.study.endpoint import Role
from cbt_ray.unit import Stage
from tests.planning.test_tokens import EMBEDDED
from tests.study.example import example_study, loaded, write_study

SPEED = 40.0
"""Tokens of a reply in a second, by default; so a call of 80 tokens takes 2 s."""
CALL = Call(Role(endpoint="script"), 0, 80)
"""One call of 2 s."""


def study(**changes: Any) -> Study:
    return loaded(**changes)


def stage(*chains: tuple[int, int], call: Call = CALL) -> StageCalls:
    """Chains as (how many, calls of each)."""
    return StageCalls(Stage.SESSIONS, [Chains(number, [call] * calls) for number, calls in chains])


def on(nodes: int, calls: StageCalls, cores: int = 2, **changes: Any) -> Forecast:
    return forecast(study(**changes), calls, Nodes(nodes, cores))


@pytest.mark.parametrize(("workers", "measured"), [(1, 21.0), (2, 20.4)])
def test_what_make_bench_measured(workers: int, measured: float) -> None:
    """600 chains of 10 calls of 2 s: docs/scale.md, `What a conversation costs`."""
    engine = {"workers": workers, "chains_per_worker": 600 // workers}
    found = on(1, stage((600, 10)), engine=engine)
    assert found.seconds == pytest.approx(measured, rel=0.02)
    assert (found.at_once, found.limit) == (600, "the longest chain")


@pytest.mark.parametrize(("nodes", "waves"), [(1, 4), (2, 2), (3, 2), (4, 1), (9, 1)])
def test_more_nodes_hold_more_chains_at_once(nodes: int, waves: int) -> None:
    found = on(nodes, stage((40, 10)), engine={"chains_per_worker": 10})
    assert found.seconds == pytest.approx(waves * 20, rel=0.01)
    assert found.at_once == min(40, 10 * nodes)
    assert (found.limit == "the longest chain") == (waves == 1)


def test_chains_begin_where_there_is_room_first() -> None:
    # Two at once: 3 calls and 1 call, then the second's room takes the other two in turn.
    found = on(1, stage((1, 3), (3, 1)), engine={"chains_per_worker": 2})
    assert found.seconds == pytest.approx(6, rel=0.01)


def test_an_endpoint_holds_up_all_who_ask_it() -> None:
    found = on(9, stage((20, 10), (20, 10)), endpoints__script__max_concurrency=10)
    assert (found.seconds, found.limit) == (pytest.approx(80, rel=0.01), "what script bears")
    found = on(9, stage((600, 10)), endpoints__script__requests_per_minute=60)
    assert (found.seconds, found.limit) == (6000, "what script bears")


def test_many_short_calls_are_held_up_by_the_cpu_of_workers() -> None:
    quick = replace(CALL, reply_tokens=0.4)
    found = on(1, stage((60_000, 10), call=quick), engine={"chains_per_worker": 128})
    assert (found.seconds, found.limit) == (600_000 * CALL_S, "CPU of workers")


@pytest.mark.parametrize(("cores", "at_once"), [(2, 2), (3, 2), (4, 4)])
def test_a_model_in_the_process_takes_cpus(cores: int, at_once: int) -> None:
    found = on(2, stage((8, 10)), cores, endpoints__script={**EMBEDDED, "threads": 2})
    assert found.at_once == at_once


def test_stages_that_share_an_endpoint_share_what_it_bears() -> None:
    limited = study(endpoints__script__max_concurrency=10)
    shared = stage((20, 10), (20, 10))
    assert shared.at_once(limited) == 10
    assert shared.path(limited) == pytest.approx(80)


def test_plan_says_it_for_each_number_of_nodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_study(tmp_path, example_study())
    assert run(["plan", str(file), "--nodes", "1", "--nodes", "4", "--cores", "8"]) == 0
    said = capsys.readouterr().out
    assert "on 1 node of 8 CPUs, from the first call to the last answer:\n" in said
    assert "on 4 nodes of 8 CPUs" in said
    assert said.count("; limited by ") == 2 * len([s for s in Stage if f"\n{s:<10} " in said])
    assert run(["plan", str(file), "--nodes", "0"]) == 2
