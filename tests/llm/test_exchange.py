"""What may come before an answer of HTTP, and answers that are none, byte by byte."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from cbt_ray.llm.connection import Deadline
from cbt_ray.llm.exchange import Answer, Unanswered, exchange

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENT_S = 60.0


def answered(raw: bytes) -> Answer:
    """What is made of these bytes."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with closing(connection):
                asked = b""
                while not asked.endswith(
                    b"\r\n\r\n{}"
                ):  # what is left unread resets the connection
                    asked += connection.recv(1 << 16)
                connection.sendall(raw)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        return exchange("POST", url, {}, b"{}", Deadline.after(PATIENT_S))


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3,
    ],
)
def test_what_comes_before_an_answer_is_none(before: bytes) -> None:
    answer = answered(before + OK)
    assert (answer.status, answer.body) == (200, b"{}")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (CHUNKED + b"2\r\n{}\r\n", "malformed"),
        (CHUNKED + b"9\r\n{}", "malformed"),
        (CHUNKED + b"zz\r\n{}", "malformed"),
        (b"HTTP/1.1 102 Processing\r\n\r\n", "connection"),
        (b"\x15\x03\x01\x00\x02\x02F", "malformed"),
        (b"{}", "malformed"),
        (OK[:-1], "connection"),
        (b"", "connection"),
    ],
)
def test_an_answer_that_is_cut_or_none_is_a_fault_of_the_world(raw: bytes, kind: str) -> None:
    with pytest.raises(Unanswered) as lost:
        answered(raw)
    assert (lost.value.kind, lost.value.sent) == (kind, True)
