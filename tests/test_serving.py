"""The servers of the tests keep quiet about a client that hangs up, and about nothing else."""

from __future__ import annotations

import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from tests.serving import LocalServer, serving

RESET = struct.pack(
    "ii", 1, 0
)  # lingers for no time: closing resets the connection, as it does with an answer left unread


class Watched(LocalServer):
    """Says when it has dealt with an error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.dealt = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        super().handle_error(request, client_address)
        self.dealt.set()


class Handler(BaseHTTPRequestHandler):
    """Answers /, and breaks at any other path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/":
            raise KeyError(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")

    def log_message(self, *_: object) -> None:
        """Silent."""


def ask(path: str) -> None:
    """Ask for one path; hang up with the answer half read."""
    server = Watched()
    with serving(server):
        client = socket.create_connection(server.server_address[:2])
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        assert server.dealt.wait(120)


def test_a_client_that_hangs_up_is_no_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    ask("/")
    assert capsys.readouterr().err == ""


def test_an_error_of_the_server_is(capsys: pytest.CaptureFixture[str]) -> None:
    ask("/broken")
    assert "KeyError: '/broken'" in capsys.readouterr().err
