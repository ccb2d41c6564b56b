"""Serve: a model of the study with all that is tuned from it, in vLLM; it is announced only after
it was found to be what was trained.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import NoReturn

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.gpu import require_gpu
from cbt_ray.llm.chat_request import key_of
from cbt_ray.llm.inquiry import Inquiry
from cbt_ray.study import Study
from cbt_ray.study.serving import Server, endpoint_of, servers
from cbt_ray.training.gate.verdict import Check, Verdict
from cbt_ray.unit import Key, Status, Unit, canonical
from cbt_ray.vllm.comparison import Asker
from cbt_ray.vllm.holding import Model, bring, models_of
from cbt_ray.vllm.process import check_free, command_line, program_of, running
from cbt_ray.work.bench import Bench
from cbt_ray.work.inputs import check_endpoints, check_model_name
from cbt_ray.work.served import refused

LOAD_S = 3600.0
"""Seconds in which vLLM has to be ready; it loads weights and compiles kernels."""
LOOK_S = 0.5


@dataclass(frozen=True)
class Place:
    """Where a server answers, how it is started, and the file that says that it may be asked."""

    host: str
    port: int
    program: str | None = None
    more: Sequence[str] = ()
    """vLLM's own options."""
    ready: Path | None = None

    @property
    def address(self) -> str:
        """From this machine."""
        own = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared
        host = own.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"


class _Told(BaseException):
    """SIGTERM: the orderly end of a server."""


def serve(
    bench: Bench, model: str, endpoint: str | None, place: Place, say: Callable[[str], object]
) -> None:
    """Start vLLM, check what it says, write the verdict down, and go on until SIGTERM.

    Raises Owed where a model is not trained yet, GateFailed where the server is not what was
    trained, Infrastructure where vLLM ended by itself.
    """
    with contextlib.suppress(_Told), _until_told(), _announced(place.ready) as announce:
        server = _server(bench.study, model, endpoint)
        require_gpu()
        models = models_of(bench, server, servers(bench.study)[server])
        program = program_of(place.program)
        check_free(place.host, place.port)
        bench.check_store()
        for one in models:
            _withdraw(bench, bench.keys.served(one.made, server.endpoint))
        own = endpoint_of(bench.study, server)
        key, held = key_of(server.endpoint, own.server(model, model)), bring(bench, server, models)
        started = command_line(program, held, own, place.host, place.port, place.more)
        with running(started, key) as process:
            inquiry = Inquiry(place.address, key or "")
            _await_health(process, inquiry)
            _judge(bench, server, models, inquiry)
            announce()
            say(f"serve: {', '.join(one.name for one in models)} at {place.address}")
            raise Infrastructure(f"vLLM ended by itself, with code {process.wait()}", "server")


def _server(study: Study, model: str, endpoint: str | None) -> Server:
    check_model_name(study, model)
    known = [one for one in servers(study) if one.model == model]
    chosen = [one for one in known if endpoint in (None, one.endpoint)]
    if not known:
        raise InputError(f"{study.file}: --model: no arm of {model} answers at an endpoint of vLLM")
    if len(chosen) != 1:
        raise InputError(
            f"{study.file}: --endpoint: expected one of {[one.endpoint for one in known]}"
        )
    check_endpoints(study, [study.therapist(arm) for arm in study.arms if arm.model == model])
    return chosen[0]


def _await_health(process: subprocess.Popen[bytes], inquiry: Inquiry) -> None:
    end = time.monotonic() + LOAD_S
    while not inquiry.is_healthy():
        if process.poll() is not None:
            raise InputError(
                f"--vllm: it ended with code {process.returncode} before it was ready; its log "
                "says why"
            )
        if time.monotonic() > end:
            raise Infrastructure(f"vLLM was not ready within {LOAD_S:g} seconds", "timeout")
        time.sleep(LOOK_S)


def _judge(bench: Bench, server: Server, models: Sequence[Model], inquiry: Inquiry) -> None:
    """Write down what is found of each model; raises GateFailed with all that differs."""
    endpoint = endpoint_of(bench.study, server)
    verdicts = Asker(inquiry, endpoint.dtype, endpoint.context).verdicts(models)
    by = {
        "cbt_ray": version("cbt-ray"),
        "vllm": inquiry.version(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for one in models:
        key = bench.keys.served(one.made, server.endpoint)
        bench.store.put(_unit(key, one, verdicts[one.name], by))
    problems = [
        f"{name}: {check.name}: {_differs(check)}"
        for name, verdict in verdicts.items()
        for check in verdict.checks
        if check.passed is False
    ]
    if problems:
        raise refused(bench.study, server, problems)


def _unit(key: Key, model: Model, verdict: Verdict, by: Mapping[str, str]) -> Unit:
    failed = verdict.failed
    return Unit(
        key,
        {"model": model.name, **verdict.to_json()},
        Status.REJECTED if failed else Status.DONE,
        ", ".join(failed) or None,
        provenance=dict(by),
        made_from={str(model.unit.key): model.unit.digest},
    )


def _differs(check: Check) -> str:
    return f"expected {check.expected}, found {canonical(check.measured).decode()}"


def _withdraw(bench: Bench, key: Key) -> None:
    """What was found of an earlier server says nothing of this one."""
    data = bench.store.read(str(key))
    if data is not None:
        bench.store.set_aside(str(key), seen=data)


@contextlib.contextmanager
def _announced(file: Path | None) -> Iterator[Callable[[], object]]:
    """What makes the file that says that the server may be asked; it goes with the server."""
    if file is None:
        yield lambda: None
        return
    file.unlink(missing_ok=True)
    try:
        yield file.touch
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _until_told() -> Iterator[None]:
    """SIGTERM ends the block, once: what it holds is let go of in order."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Told

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
