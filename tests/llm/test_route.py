"""By which way a server is reached, as the environment says it now."""

from __future__ import annotations

import io
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cbt_ray.llm import route as route_module
from cbt_ray.llm.connection import Deadline
from cbt_ray.llm.exchange import Unanswered, exchange
from cbt_ray.llm.route import Route, route_to

from .open_server import OK, PATIENT_S, OpenServer, Served, ok

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")
URL = "http://llm.example:8000/v1?x=1"
STRAIGHT = Route(False, "llm.example", 8000, None, None)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    yield
    route_module._trust.cache_clear()


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"http_proxy": "http://p.example:3128"}, ("p.example", 3128)),
        ({"HTTP_PROXY": "p.example:3128"}, ("p.example", 3128)),
        ({"ALL_PROXY": "http://p.example"}, ("p.example", 80)),
        ({"https_proxy": "http://p.example"}, None),
        ({"HTTP_PROXY": "http://p.example", "http_proxy": ""}, None),
        ({"http_proxy": "http://p.example", "no_proxy": "example"}, None),
        ({"all_proxy": "http://p.example", "NO_PROXY": "other, llm.example"}, None),
        ({"http_proxy": "http://p.example", "no_proxy": "*"}, None),
        ({"http_proxy": "http://p.example", "no_proxy": "other.example"}, ("p.example", 80)),
    ],
)
def test_the_environment_names_a_proxy_or_none(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxy: tuple[str, int] | None
) -> None:
    assert route_to(URL) == (STRAIGHT, "/v1?x=1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    target = URL if proxy else "/v1?x=1"
    assert route_to(URL) == (Route(False, "llm.example", 8000, proxy, None), target)


def test_a_proxy_is_asked_for_the_whole_address_and_told_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with OpenServer(forever) as proxy:
        for password in ("a%20b", "a%20b", "other"):
            monkeypatch.setenv("http_proxy", f"http://me:{password}@{proxy.address}")
            exchange("POST", URL, {}, b"{}", at_rest())
        assert proxy.connections == 2  # one for each password
        first = proxy.heads[0].split(b"\r\n")
    assert first[:2] == [f"POST {URL} HTTP/1.1".encode(), b"Host: llm.example:8000"]
    assert b"Proxy-Authorization: Basic bWU6YSBi" in first


def test_a_tunnel_is_kept_with_what_is_said_within_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = certified(monkeypatch, tmp_path)
    asked = []

    def tunnel(it: Served) -> None:
        asked.append(it.head())
        it.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        it.encrypt(context)
        forever(it)

    with OpenServer(tunnel) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:secret@{proxy.address}")
        for _ in range(3):
            answer = exchange("POST", "https://127.0.0.1/v1", {}, b"{}", at_rest())
            assert answer.body == b"{}"
        assert (proxy.connections, proxy.requests) == (1, 3)
    assert asked[0].startswith(b"CONNECT 127.0.0.1:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in asked[0]
    assert all(b"Proxy-Authorization" not in head for head in proxy.heads)
    assert all(b"Host: 127.0.0.1\r\n" in head for head in proxy.heads)


def test_a_server_that_nobody_vouches_for_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = certified(monkeypatch, tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE")
    route_module._trust.cache_clear()

    def secure(it: Served) -> None:
        it.encrypt(context)
        forever(it)

    with OpenServer(secure) as server:
        with pytest.raises(Unanswered, match="certificate") as lost:
            exchange("GET", f"https://{server.address}/", {}, b"", at_rest())
        server.join()
        assert (lost.value.sent, server.requests) == (False, 0)


def test_a_proxy_that_never_opens_a_way_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenServer(silent) as proxy:
        monkeypatch.setenv("https_proxy", proxy.address)
        with pytest.raises(Unanswered) as lost:
            exchange("POST", "https://127.0.0.1/v1", {}, b"{}", Deadline(0.2, lambda: 0.0))
        proxy.join()
    assert (lost.value.kind, lost.value.sent) == ("timeout", False)


def test_what_is_left_of_an_encrypted_record_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The socket has nothing more to read then, and the buffer ends with the answer."""
    context, full = certified(monkeypatch, tmp_path), io.DEFAULT_BUFFER_SIZE
    answer = ok(b"x" * (full - len(ok(b"x" * 1000)) + 1000))
    assert len(answer) == full

    def secure(it: Served) -> None:
        it.encrypt(context)
        while it.request():
            it.send(answer + answer)

    with OpenServer(secure) as server:
        for _ in range(2):
            exchange("POST", f"https://{server.address}/", {}, b"{}", at_rest())
        assert (server.connections, server.requests) == (2, 2)


def at_rest() -> Deadline:
    """A time that stands still: no connection is idle for long."""
    return Deadline(PATIENT_S, lambda: 0.0)


def silent(it: Served) -> None:
    while it.head():
        """No answer."""


def forever(it: Served) -> None:
    while it.request():
        it.send(OK)


def certified(monkeypatch: pytest.MonkeyPatch, folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for 127.0.0.1 that this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    route_module._trust.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
