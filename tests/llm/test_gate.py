"""Gates of several workers on one meter: what is counted where the calls arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cbt_ray.errors import BudgetReached
from cbt_ray.llm.gate import Gate, gate_of
from cbt_ray.llm.lease import Grant
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.request import Usage
from cbt_ray.study.endpoint import Endpoint, ScriptedEndpoint
from cbt_ray.study.study import Budget

WORKERS, CHAINS, CALLS = 3, 40, 25


class Server:
    """Counts the calls that arrive, and how many are there at once."""

    def __init__(self) -> None:
        self.calls = self.here = self.most = 0
        self._lock = threading.Lock()

    def call(self) -> None:
        with self._lock:
            self.calls += 1
            self.here += 1
            self.most = max(self.most, self.here)
        time.sleep(0.001)
        with self._lock:
            self.here -= 1


class Link:
    """What sends a worker's claims and brings its grants, as a worker's process does."""

    def __init__(self, meter: Meter, name: str) -> None:
        self.gate = Gate(meter.endpoints, meter.budget, self._ask)
        self.asks = 0
        self._meter, self._name = meter, name
        self._asked, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def end(self) -> None:
        self._ended = True
        self._asked.set()
        self._thread.join()

    def _ask(self) -> None:
        self.asks += 1
        self._asked.set()

    def _serve(self) -> None:
        again = 1.0
        while not self._ended:
            self._asked.wait(again if self.gate.waits() else 1.0)
            self._asked.clear()
            self._meter.settle(self._name, self.gate.claim())
            grant = self._meter.grant(self._name)
            self.gate.take(grant)
            again = grant.again_s


def chain(gate: Gate, server: Server) -> None:
    """A conversation."""
    try:
        for _ in range(CALLS):
            permit = gate.acquire("small", 10)
            server.call()
            gate.release(permit, Usage(calls=1, prompt_tokens=5, reply_tokens=5, cost=0.01))
    except BudgetReached:
        return


def held(
    meter: Meter, during: Callable[[], object] = lambda: None, workers: int = WORKERS
) -> tuple[Server, list[Link]]:
    """All chains of all workers."""
    server, links = Server(), [Link(meter, str(number)) for number in range(workers)]
    threads = [
        threading.Thread(target=chain, args=(link.gate, server))
        for link in links
        for _ in range(CHAINS)
    ]
    for thread in threads:
        thread.start()
    during()
    for thread in threads:
        thread.join()
    for link in links:
        link.end()
    return server, links


def metered(budget: Budget | None = None, **limits: Any) -> Meter:
    endpoints: dict[str, Endpoint] = {"small": ScriptedEndpoint(kind="scripted", **limits)}
    return Meter(endpoints, budget or Budget())


def test_without_limits_nothing_is_asked_of_the_meter() -> None:
    server, links = held(metered())
    assert server.calls == WORKERS * CHAINS * CALLS
    assert sum(link.asks for link in links) == 0


def test_no_more_at_once_than_the_endpoint_bears() -> None:
    server, links = held(metered(max_concurrency=20))
    assert server.calls == WORKERS * CHAINS * CALLS
    assert 10 < server.most <= 20
    assert sum(link.asks for link in links) < server.calls / 3, "in blocks, not call by call"


@pytest.mark.parametrize("most", [1, 2, 1000])
def test_a_budget_of_calls_is_spent_to_the_last_and_never_overshot(most: int) -> None:
    server, _ = held(metered(Budget(calls=most)))
    assert server.calls == most


@pytest.mark.parametrize("budget", [Budget(calls=20), Budget(tokens=200), Budget(cost=0.2)])
def test_who_has_slots_and_who_has_budget_do_not_wait_for_each_other(budget: Budget) -> None:
    server, _ = held(metered(budget, max_concurrency=WORKERS - 1))
    assert 20 <= server.calls <= 20 + WORKERS


def test_a_gate_beside_its_meter_keeps_nothing_from_workers() -> None:
    meter = metered(Budget(calls=20), max_concurrency=1)
    gate = gate_of(meter)
    gate.release(gate.acquire("small", 1), Usage(calls=1))
    assert meter.totals().calls == 1
    server, _ = held(meter, workers=1)
    assert server.calls == 19


@pytest.mark.parametrize("budget", [Budget(tokens=10_000), Budget(cost=10.0)])
def test_tokens_and_dollars_are_overshot_by_what_is_in_flight_at_most(budget: Budget) -> None:
    server, _ = held(metered(budget, max_concurrency=30))
    assert 1000 <= server.calls <= 1000 + 30


def test_all_that_was_used_is_told() -> None:
    meter = metered(Budget(calls=10**6), max_concurrency=20)
    server, _ = held(meter)
    told = meter.totals()
    assert (told.calls, told.tokens) == (server.calls, 10 * server.calls)


def test_requests_of_a_minute_hold_over_all_workers() -> None:
    meter = metered(requests_per_minute=200)
    server, _ = held(meter, lambda: until(lambda: meter.totals().calls >= 200, meter))
    assert server.calls == 200


def until(reached: Callable[[], bool], meter: Meter) -> None:
    """Wait for it, then let no more calls begin."""
    end = time.monotonic() + 600
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)
    meter.halt("enough")


def test_a_halted_gate_refuses_at_once_and_wakes_those_that_wait() -> None:
    it = metered(max_concurrency=1)
    gate = gate_of(it)
    permit, refused = gate.acquire("small", 1), list[str]()

    def wait() -> None:
        try:
            gate.acquire("small", 1)
        except BudgetReached as reached:
            refused.append(str(reached))

    waiting = threading.Thread(target=wait)
    waiting.start()
    gate.halt("the key is refused")
    waiting.join()
    assert refused == ["the key is refused"]
    gate.release(permit, Usage(calls=1))
    with pytest.raises(BudgetReached, match="the key is refused"):
        gate.acquire("small", 1)


def test_no_tickets_are_hoarded_by_calls_that_the_budget_keeps_waiting() -> None:
    meter = metered(Budget(tokens=2500), requests_per_minute=60)
    gate = Gate(meter.endpoints, meter.budget, lambda: None)
    for _ in range(9):
        threading.Thread(target=gate.acquire, args=("small", 1000), daemon=True).start()
    while len(gate.claim().needs["small"].waiting) < 9:
        time.sleep(0.001)
    given = 0
    for _ in range(9):
        meter.settle("a", gate.claim())
        grant = meter.grant("a")
        gate.take(grant)
        given += len(grant.tickets["small"])
    assert given <= 9


def test_calls_begin_in_the_order_in_which_they_came() -> None:
    asked = threading.Event()
    endpoints: dict[str, Endpoint] = {"small": ScriptedEndpoint(kind="scripted", max_concurrency=9)}
    gate, order = Gate(endpoints, Budget(), asked.set), list[int]()

    def call(number: int) -> None:
        gate.acquire("small", number)
        order.append(number)

    for number in range(5):
        before = len(gate.claim().needs["small"].waiting)
        threading.Thread(target=call, args=(number,)).start()
        while len(gate.claim().needs["small"].waiting) == before:
            time.sleep(0.001)
    assert gate.claim().needs["small"].waiting == (0, 1, 2, 3, 4)
    for slots in range(1, 6):
        gate.take(Grant(slots={"small": slots}))
        while len(order) < slots:
            time.sleep(0.001)
    assert order == [0, 1, 2, 3, 4]
