"""What litellm's clients send through: one exchange a call, bounded, and its answer kept as it
came.

litellm maps finish reasons that it does not know to `stop`, follows redirects and sends some
requests again by itself. Through here a request that a call repeats is answered by what came the
first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import httpx

from cbt_ray.llm.connection import Deadline
from cbt_ray.llm.exchange import Answer, Unanswered, exchange

_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
"""Headers that the exchange sets."""
_UNPACKED = frozenset({"content-encoding", "content-length", "transfer-encoding"})


@dataclass
class Call:
    """One call of a model under way, and what came of the requests that it sent."""

    seconds: float
    deadline: Deadline | None = None
    """From the first request on: litellm loads parts of itself, for seconds, before a process's
    first."""
    outcomes: dict[tuple[str, str], Answer | Unanswered] = field(default_factory=dict)

    @property
    def answer(self) -> Answer | None:
        """The last answer; some providers ask for a token first."""
        answers = [outcome for outcome in self.outcomes.values() if isinstance(outcome, Answer)]
        return answers[-1] if answers else None

    @property
    def lost(self) -> Unanswered | None:
        """What kept the last request from being answered."""
        last = list(self.outcomes.values())[-1:]
        return last[0] if last and isinstance(last[0], Unanswered) else None


_call: ContextVar[Call | None] = ContextVar("call", default=None)
_IDLE_S = 120.0
"""For a request outside of any call, as for a token that is fetched ahead."""


@contextmanager
def calling(seconds: float) -> Iterator[Call]:
    """Keep what is sent within the block, and bound it."""
    call = Call(seconds)
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)


class Wire(httpx.BaseTransport):
    """A transport for httpx."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send, or answer again what was answered before; a redirect is an error."""
        call = _call.get() or Call(_IDLE_S)
        call.deadline = call.deadline or Deadline.after(call.seconds)
        which = (request.method, str(request.url))
        if which not in call.outcomes:
            call.outcomes[which] = _sent(request, call.deadline)
        outcome = call.outcomes[which]
        if isinstance(outcome, Unanswered):
            kind = httpx.ReadTimeout if outcome.kind == "timeout" else httpx.ConnectError
            raise kind(str(outcome), request=request)
        if outcome.status in range(300, 400):
            raise httpx.RemoteProtocolError("a redirect is not followed", request=request)
        headers = {name: value for name, value in outcome.headers.items() if name not in _UNPACKED}
        return httpx.Response(
            outcome.status, headers=headers, content=outcome.body, request=request
        )

    def close(self) -> None:
        """Nothing to close: clients come and go, and share it."""


def session() -> httpx.Client:
    """A client on the wire, for those of litellm's that take a client and no transport."""
    return httpx.Client(transport=Wire(), follow_redirects=False)


def _sent(request: httpx.Request, deadline: Deadline) -> Answer | Unanswered:
    pairs = [(name.decode(), value.decode()) for name, value in request.headers.raw]
    headers = {name: value for name, value in pairs if name.lower() not in _OURS}
    try:
        return exchange(request.method, str(request.url), headers, request.read(), deadline)
    except Unanswered as lost:
        return lost
