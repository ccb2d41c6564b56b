"""When a connection serves another call, when it does not, and that no call is made twice: told by
a server that counts both.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

import pytest

from cbt_ray.llm import exchange as exchange_module
from cbt_ray.llm.connection import IDLE_S, Deadline
from cbt_ray.llm.exchange import Answer, Unanswered, exchange

from .open_server import OK, PATIENT_S, OpenServer, Served, ok

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


def call(to: OpenServer, body: bytes = b"{}", *, now: float = 0.0, method: str = "POST") -> Answer:
    """One call, at a time that stands still."""
    return exchange(method, to.url, {}, body, Deadline(now + PATIENT_S, lambda: now))


def each(*raw: bytes) -> Callable[[Served], None]:
    """Answer with these in turn, over and over, until the client hangs up."""

    def serve(it: Served) -> None:
        while True:
            for one in raw:
                if not it.request():
                    return
                it.send(one)

    return serve


@pytest.mark.parametrize(
    "raw",
    [
        OK,
        CHUNKED,
        CHUNKED.replace(b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_a_thread_has_one_connection(raw: bytes) -> None:
    with OpenServer(each(raw)) as server:
        answers = [call(server) for _ in range(5)]
        assert (server.connections, server.requests) == (1, 5)
    assert len({(one.status, one.body) for one in answers}) == 1


def test_an_answer_without_a_body_is_none_for_the_next_call() -> None:
    with OpenServer(each(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", OK)) as server:
        assert call(server, method="HEAD").body == b""
        assert call(server).body == b"{}"
        assert server.connections == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=100\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        OK + b"more",
        CHUNKED + OK,
    ],
)
def test_a_connection_that_is_not_kept_is_closed_by_the_client(raw: bytes) -> None:
    with OpenServer(each(raw)) as server:
        for _ in range(3):
            call(server)
        server.join()
        assert (server.connections, server.requests) == (3, 3)


def test_what_a_server_sends_while_nobody_asks_is_no_answer() -> None:
    late, sent = threading.Event(), threading.Event()

    def serve(it: Served) -> None:
        it.request()
        it.send(OK)
        late.wait(PATIENT_S)
        it.send(ok(b'"late"'))
        sent.set()
        each(OK)(it)

    with OpenServer(serve) as server:
        call(server)
        late.set()
        sent.wait(PATIENT_S)
        assert call(server).body == b"{}"
        assert (server.connections, server.requests) == (2, 2)


def test_one_that_the_server_has_ended_is_not_used() -> None:
    def once(it: Served) -> None:
        it.request()
        it.send(OK)

    with OpenServer(once) as server:
        for _ in range(3):
            assert call(server).body == b"{}"
            server.join()
        assert (server.connections, server.requests) == (3, 3)


def test_one_that_was_idle_for_long_is_not_used() -> None:
    with OpenServer(each(OK)) as server:
        call(server, now=0.0)
        call(server, now=IDLE_S - 0.1)
        assert server.connections == 1
        call(server, now=2 * IDLE_S)
        assert (server.connections, server.requests) == (2, 3)


def as_the_request_comes(it: Served) -> None:
    """End an idle connection just then, with the request unread."""
    it.request()
    it.send(OK)
    it.socket.recv(1, socket.MSG_PEEK)


def after_it_was_read(it: Served) -> None:
    """End it with the request read and begun on."""
    it.request()
    it.send(OK)
    it.request()


@pytest.mark.parametrize(("end", "counted"), [(as_the_request_comes, 1), (after_it_was_read, 2)])
def test_a_request_that_may_have_been_read_is_not_sent_again(
    end: Callable[[Served], None], counted: int
) -> None:
    with OpenServer(end) as server:
        call(server)
        with pytest.raises(Unanswered) as lost:
            call(server)
        assert (lost.value.kind, lost.value.sent) == ("connection", True)
        server.join()
        assert (server.connections, server.requests) == (1, counted)
        assert call(server).body == b"{}"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (OK[:-1], "connection"),
        (OK.replace(b" 2\r", b" 3000\r") + b"x" * 2998, "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}", "malformed"),
    ],
)
def test_an_answer_that_was_not_read_to_its_end_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, raw: bytes, kind: str
) -> None:
    monkeypatch.setattr(exchange_module, "MOST_BYTES", 1000)

    def serve(it: Served) -> None:
        it.request()
        it.send(OK)
        if it.request():
            it.send(raw)
            it.socket.shutdown(socket.SHUT_WR)

    with OpenServer(serve) as server:
        call(server)
        with pytest.raises(Unanswered) as lost:
            call(server)
        assert lost.value.kind == kind
        assert call(server).body == b"{}"
        assert (server.connections, server.requests) == (2, 3)


def test_an_answer_after_the_deadline_is_nobodys() -> None:
    """The second call's comes while the third waits for its own."""
    third = threading.Event()

    def serve(it: Served) -> None:
        while asked := it.request():
            if asked == b'"2"':
                third.wait(PATIENT_S)
            if asked == b'"3"':
                third.set()
            it.send(ok(asked))

    with OpenServer(serve) as server:
        assert call(server, b'"1"').body == b'"1"'
        with pytest.raises(Unanswered) as lost:
            exchange("POST", server.url, {}, b'"2"', Deadline(0.2, lambda: 0.0))
        assert lost.value.kind == "timeout"
        assert call(server, b'"3"').body == b'"3"'
        assert (server.connections, server.requests) == (2, 3)


def test_each_of_many_threads_has_its_own() -> None:
    def serve(it: Served) -> None:
        while asked := it.request():
            it.send(ok(asked))

    heard: dict[int, list[bytes]] = {}
    with OpenServer(serve) as server:

        def converse(number: int) -> None:
            heard[number] = [call(server, b'"%d %d"' % (number, at)).body for at in range(20)]

        in_threads(64, converse)
        server.join()  # each thread has closed its own
        assert (server.connections, server.requests) == (64, 64 * 20)
    assert heard == {of: [b'"%d %d"' % (of, at) for at in range(20)] for of in range(64)}


def test_threads_that_end_leave_nothing_open() -> None:
    with OpenServer(each(OK)) as server:
        in_threads(1, lambda _: call(server))  # whatever the first call opens for good
        server.join()
        before = descriptors()
        in_threads(200, lambda _: call(server))
        server.join()
        assert server.connections == 201
        assert descriptors() == before


def test_a_child_process_does_not_speak_for_its_parent() -> None:
    with OpenServer(each(OK)) as server:
        call(server)
        child = os.fork()
        if child == 0:
            os._exit(0 if call(server).body == b"{}" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert server.connections == 2
        call(server)
        assert (server.connections, server.requests) == (2, 3)


def in_threads(count: int, work: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208
