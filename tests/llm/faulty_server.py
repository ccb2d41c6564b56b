"""An OpenAI-compatible server on localhost that misbehaves by script, and counts its own calls.

with FaultyServer(lambda request, number: RATE_LIMITED if number == 1 else scripted_answer(request))
as server:
    ... LiteLLMEndpoint(kind="litellm", model="openai/scripted", api_base=server.url) ...
    assert server.calls == 2
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from cbt_ray.llm.request import Message, Request
from cbt_ray.llm.scripted import ScriptedModel
from cbt_ray.study.endpoint import Sampling, ScriptedEndpoint
from tests.serving import LocalServer


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one call."""

    text: str | None = "All is well."
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"
    refusal: str | None = None
    error: Mapping[str, Any] | None = None
    """The `error` object of a status other than 200."""
    usage: bool = True
    silent: bool = False
    """Never answer; wait until the client hangs up."""
    raw: bytes | None = None
    """Sent instead of a completion."""
    cut: bool = False
    """Close the connection in the middle of the answer."""
    drips: Literal["", "headers", "body"] = ""
    """Send a byte now and then, for ever."""
    hangs_up: bool = False
    """Close the connection without an answer."""


Script = Callable[[dict[str, Any], int], Behaviour]
"""The request's JSON and the number of the call, from 1."""

RATE_LIMITED = Behaviour(status=429, headers={"Retry-After": "1"})
BROKEN = Behaviour(status=500)
UNAUTHORIZED = Behaviour(status=401)
CUT = Behaviour(cut=True)
MALFORMED = Behaviour(raw=b"<html>this is no JSON")
NO_CHOICES = Behaviour(raw=b'{"id": "x", "object": "chat.completion", "model": "m", "choices": []}')
EMPTY = Behaviour(text="")
REFUSAL = Behaviour(text=None, refusal="I cannot help with that.")
TRUNCATED = Behaviour(text='{"turn": "It began when', finish_reason="length")
DRIP_S = 0.05
SLOW = Behaviour(silent=True)
"""Whatever the time-out of the endpoint under test."""

FAULTS = (RATE_LIMITED, BROKEN, CUT, MALFORMED, EMPTY, REFUSAL, TRUNCATED)


def scripted_answer(request: Mapping[str, Any]) -> Behaviour:
    """A valid answer by the scripted model, to whatever schema the request carries."""
    form = request.get("response_format") or {}
    schema = form.get("json_schema", {}).get("schema") or form.get("schema")
    messages = tuple(
        Message(message["role"], message["content"]) for message in request["messages"]
    )
    model = ScriptedModel(ScriptedEndpoint(kind="scripted"))
    return Behaviour(
        text=model.complete(Request(messages, Sampling(), request.get("seed") or 0, schema)).text
    )


def every(nth: int, faults: tuple[Behaviour, ...] = FAULTS) -> Script:
    """Every nth call meets a fault, each kind in turn; all others are answered validly.

    5 is a share of 20 %.
    """

    def script(request: dict[str, Any], number: int) -> Behaviour:
        return (
            faults[(number // nth - 1) % len(faults)]
            if number % nth == 0
            else scripted_answer(request)
        )

    return script


class FaultyServer:
    """Context manager: serves on a free port of localhost until it is left."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self.calls = 0
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.clients: set[tuple[str, int]] = set()
        """An address each connection."""
        self.behaviours: list[Behaviour] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections stay open, as those of model servers
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = LocalServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FaultyServer:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.calls += 1
            number = self.calls
            behaviour = self._script(request, number)
            self.requests.append(request)
            self.headers.append(dict(handler.headers))
            self.clients.add(handler.client_address)
            self.behaviours.append(behaviour)
        try:
            if behaviour.silent:
                handler.rfile.read(1)
                handler.close_connection = True
            elif behaviour.drips:
                _drip(handler, behaviour.drips)
            elif behaviour.hangs_up:
                handler.close_connection = True
            else:
                _send(handler, behaviour, _body(behaviour, request, number))
        except OSError:
            """The client hung up, as it does after its time-out."""


def _body(behaviour: Behaviour, request: Mapping[str, Any], number: int) -> bytes:
    if behaviour.raw is not None:
        return behaviour.raw
    if behaviour.status != 200:
        return json.dumps(
            {
                "error": behaviour.error
                or {"message": "scripted fault", "type": "fault", "code": None}
            }
        ).encode()
    message = {"role": "assistant", "content": behaviour.text, "refusal": behaviour.refusal}
    prompt = sum(len(part["content"].split()) for part in request["messages"])
    reply = len((behaviour.text or "").split())
    body = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": f"{request['model']}-as-served",
        "choices": [{"index": 0, "message": message, "finish_reason": behaviour.finish_reason}],
    }
    if behaviour.usage:
        body["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": reply,
            "total_tokens": prompt + reply,
        }
    return json.dumps(body).encode()


def _send(handler: BaseHTTPRequestHandler, behaviour: Behaviour, body: bytes) -> None:
    handler.send_response(behaviour.status)
    for name, value in {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **behaviour.headers,
    }.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2] if behaviour.cut else body)
    handler.wfile.flush()
    if behaviour.cut:
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True


def _drip(handler: BaseHTTPRequestHandler, what: str) -> None:
    """Until the client hangs up."""
    begin = b"HTTP/1.1 200 OK\r\n" if what == "headers" else b"HTTP/1.1 200 OK\r\n\r\n{"
    handler.wfile.write(begin)
    while True:
        threading.Event().wait(DRIP_S)
        handler.wfile.write(b"X-More: 1\r\n" if what == "headers" else b" ")
