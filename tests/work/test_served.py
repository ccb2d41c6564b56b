"""Sessions wait for vLLM: how long, what is said meanwhile, and what is raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import GateFailed, Infrastructure, InputError, KeyRefused, ModelFailure, Owed
from cbt_ray.llm.models import language_model
from cbt_ray.llm.request import Message, Request
from cbt_ray.study.endpoint import Sampling
from cbt_ray.study.model import Checkpoint
from cbt_ray.unit import Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.served import await_served, served
from tests.llm.open_server import OpenServer, Served
from tests.study.example import loaded

PLAIN = Checkpoint("smollm2", False)
OWN = {"kind": "vllm", "weights": "finetuned", "dtype": "float32", "wait_s": 5}


def bench_at(url: str, folder: Path) -> Bench:
    arms = [{"name": "plain", "model": "smollm2", "endpoint": "own"}]
    study = loaded(
        arms=arms, endpoints__own={**OWN, "api_base": url, "retries": 3}, store=str(folder / "runs")
    )
    bench = Bench(study, Silent(), inline=True)
    bench.store.put(Unit(bench.keys.model(PLAIN), {}, made_from={}))
    return bench


def answering(status: str, body: Any) -> Callable[[Served], None]:
    """A server that gives one answer to all."""
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"

    def serve(it: Served) -> None:
        it.request()
        it.send(head.encode() + data)

    return serve


def listing(*names: str) -> Callable[[Served], None]:
    return answering("200 OK", {"data": [{"id": name, "max_model_len": 8192} for name in names]})


def found(bench: Bench, status: Status, training: str = "") -> None:
    key, reason = bench.keys.served(PLAIN, "own"), None
    if status is not Status.DONE:
        reason = "served.greedy"
    model = bench.store.get(bench.keys.model(PLAIN))
    assert model is not None
    made_from = {str(model.key): training or model.digest}
    bench.store.put(Unit(key, {}, status, reason, made_from=made_from))


@dataclass
class Patience:
    """A clock that runs by waiting alone."""

    now: float = 0.0
    waits: int = 0
    said: list[str] = field(default_factory=list)
    then: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1
        self.then()

    def wait(self, bench: Bench) -> None:
        await_served(
            bench.keys,
            bench.store,
            bench.study.arms,
            self.said.append,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def test_a_server_that_passed_is_not_waited_for(tmp_path: Path) -> None:
    names: list[str] = []
    with OpenServer(lambda it: listing(*names)(it)) as server:
        bench = bench_at(server.url, tmp_path)
        names.append(served(bench.keys, PLAIN, "own").name)
        found(bench, Status.DONE)
        patience = Patience()
        patience.wait(bench)
    assert (patience.waits, patience.said) == (0, [])


def test_one_that_is_still_judged_is_waited_for_and_said_once(tmp_path: Path) -> None:
    names: list[str] = []
    with OpenServer(lambda it: listing(*names)(it)) as server:
        bench = bench_at(server.url, tmp_path)
        names.append(served(bench.keys, PLAIN, "own").name)
        patience = Patience()
        patience.then = lambda: found(bench, Status.DONE) if patience.waits == 3 else None
        patience.wait(bench)
    assert patience.waits == 3
    assert len(patience.said) == 1
    assert "has not passed the check `served` yet; start it with `cbt-ray serve" in patience.said[0]


def test_the_wait_is_bounded_and_says_what_is_missing(tmp_path: Path) -> None:
    patience = Patience()
    with pytest.raises(Infrastructure) as lost:
        patience.wait(bench_at("http://127.0.0.1:9/v1", tmp_path))
    assert patience.waits == OWN["wait_s"]
    assert "endpoints.own.api_base: http://127.0.0.1:9/v1: no connection" in str(lost.value)
    assert "--model smollm2`" in str(lost.value)
    with OpenServer(listing("smollm2-instruct-of-yesterday")) as server:
        bench = bench_at(server.url, tmp_path)
        with pytest.raises(InputError) as other:
            Patience().wait(bench)
    name = served(bench.keys, PLAIN, "own").name
    assert f"expected a server that has {name}, {server.url} has smollm2-instruct-of" in str(
        other.value
    )
    with OpenServer(listing(name)) as server, pytest.raises(Owed):
        Patience().wait(bench_at(server.url, tmp_path))


def test_a_server_of_an_earlier_training_under_the_same_key_is_refused(tmp_path: Path) -> None:
    names: list[str] = []
    with OpenServer(lambda it: listing(*names)(it)) as server:
        bench = bench_at(server.url, tmp_path)
        names.append(served(bench.keys, PLAIN, "own").name)
        found(bench, Status.DONE, training="0" * 16)
        with pytest.raises(Owed, match="is of an earlier training"):
            Patience().wait(bench)


def test_a_server_that_failed_or_refuses_the_key_is_not_waited_for(tmp_path: Path) -> None:
    names: list[str] = []
    with OpenServer(lambda it: listing(*names)(it)) as server:
        bench = bench_at(server.url, tmp_path)
        names.append(served(bench.keys, PLAIN, "own").name)
        found(bench, Status.REJECTED)
        patience = Patience()
        with pytest.raises(GateFailed, match=r"served\.greedy"):
            patience.wait(bench)
    refusing = OpenServer(answering("401 Unauthorized", {"error": "key"}))
    with refusing as server, pytest.raises(KeyRefused, match="api_key_env"):
        patience.wait(bench_at(server.url, tmp_path))
    assert patience.waits == 0


def test_a_server_with_other_weights_answers_404_and_is_asked_once(tmp_path: Path) -> None:
    refusal = {"error": {"message": "The model `x` does not exist.", "code": 404}}
    with OpenServer(answering("404 Not Found", refusal)) as server:
        bench = bench_at(server.url, tmp_path)
        made = served(bench.keys, PLAIN, "own")
        model = language_model("own", bench.study.endpoints["own"], made)
        with pytest.raises(InputError) as error:
            model.complete(Request((Message("user", "Hello."),), Sampling(), seed=1))
        assert not isinstance(error.value, ModelFailure)
        assert f"endpoints.own.api_base: expected a server that has hosted_vllm/{made.name}" in str(
            error.value
        )
        assert server.requests == 1
