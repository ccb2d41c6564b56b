"""A real OpenAI-compatible server on localhost (llama-cpp-python's own) with the embedded model
behind it, through litellm.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.models import Models, probe
from cbt_ray.llm.request import Finish
from cbt_ray.study.endpoint import Endpoint, LiteLLMEndpoint, Sampling
from cbt_ray.study.study import Budget

from .conftest import ask, turns

pytestmark = pytest.mark.llama
START_S = 600


@pytest.fixture(scope="module")
def url(embedded_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        "--n_threads 1 --n_threads_batch 1 --n_ctx 1024 --host 127.0.0.1"
        f" --port {port} --model_alias small"
    ).split()
    log = (tmp_path_factory.mktemp("server") / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "llama_cpp.server", "--model", str(embedded_file), *options],
        stdout=log,
        stderr=log,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models", process, Path(log.name))
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_S * 5):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=60).close()  # noqa: S310
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def models(url: str) -> Models:
    endpoints: dict[str, Endpoint] = {
        "server": LiteLLMEndpoint(
            kind="litellm", model="openai/small", api_base=url, retries=0, structured="json_object"
        )
    }
    return Models(endpoints, gate_of(Meter(endpoints, Budget())))


def test_it_answers_in_words(models: Models) -> None:
    it = models.open("server", "patient")
    reply = it(ask("Say hello to Ann.", max_tokens=20))
    assert reply.text.strip()
    assert reply.model == "small"
    assert it.usage.calls == 1
    assert it.usage.prompt_tokens > 0
    assert 0 < it.usage.reply_tokens <= 20


def test_it_is_held_to_the_schema(models: Models) -> None:
    request = ask(
        "Write two turns.",
        schema=turns(2, minLength=10, maxLength=60),
        max_tokens=120,
        temperature=1,
    )
    reply = models.open("server", "generator")(request)
    assert reply.finish is Finish.STOP
    assert all(10 <= len(turn) <= 60 for turn in json.loads(reply.text).values())


def test_it_says_when_it_was_cut(models: Models) -> None:
    assert (
        models.open("server", "judge")(ask("Tell me a long story.", max_tokens=5)).finish
        is Finish.LENGTH
    )


def test_a_prompt_too_long_is_the_models_failure(models: Models) -> None:
    with pytest.raises(ModelFailure, match="context") as failure:
        models.open("server", "judge")(ask("word " * 1500))
    assert failure.value.reason == "context_full"


def test_the_probe_proves_that_it_answers(models: Models) -> None:
    assert probe(models.open("server", "judge"), "judge", Sampling()).reply_tokens <= 16
