"""A pod without keys: who it is says a token, which somebody exchanges for credentials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store import open_store
from tests.s3_server import S3Server
from tests.serving import serving
from tests.store.fake_s3 import FakeS3, Handler

ROLE = "arn:aws:iam::123456789012:role/cbt-ray"
GIVEN = {
    "AccessKeyId": "ASIAGIVEN",
    "SecretAccessKey": "given",
    "Token": "session",
    "Expiration": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
}
STS = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
    f"<AccessKeyId>{GIVEN['AccessKeyId']}</AccessKeyId>"
    f"<SecretAccessKey>{GIVEN['SecretAccessKey']}</SecretAccessKey>"
    f"<SessionToken>{GIVEN['Token']}</SessionToken><Expiration>{GIVEN['Expiration']}</Expiration>"
    "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)


class Exchange(FakeS3):
    """An S3 server that also exchanges tokens, as the agent of a node and as AWS do."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = Exchanging
        self.tokens: list[str] = []
        self.signed: list[str] = []
        self.refuses = False


class Exchanging(Handler):
    """One request of either kind."""

    server: Exchange

    def do_PUT(self) -> None:  # noqa: N802  http.server asks for it
        self.server.signed.append(self.headers["Authorization"])
        super().do_PUT()

    def do_GET(self) -> None:  # noqa: N802  http.server asks for it
        if self.path != "/v1/credentials":
            super().do_GET()
            return
        self.server.tokens.append(self.headers["Authorization"])
        if self.server.refuses:
            self._send(404, b"no association")
        else:
            self._send(200, json.dumps(GIVEN).encode())

    def do_POST(self) -> None:  # noqa: N802  http.server asks for it
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.tokens.append(asked)
        self._send(200, STS.encode())


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Exchange]:
    """The server, and nothing of AWS in the environment."""
    S3Server("", "", "").allow(monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    server = Exchange()
    with serving(server):
        yield server


def pod(exchange: Exchange, monkeypatch: pytest.MonkeyPatch, folder: Path, way: str) -> None:
    """The environment of a pod."""
    token = folder / "token"
    token.write_text("signed-by-kubernetes")
    here = f"http://127.0.0.1:{exchange.server_address[1]}"
    told: dict[str, Any] = {
        "pod-identity": {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{here}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        },
        "web-identity": {
            "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_STS": here,
        },
    }
    for name, value in told[way].items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("way", ["pod-identity", "web-identity"])
def test_the_store_is_written_as_the_role(
    way: str, exchange: Exchange, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pod(exchange, monkeypatch, tmp_path, way)
    store = open_store(exchange.url)
    assert store.create("a", b"1")
    assert store.read("a") == b"1"
    assert all(GIVEN["AccessKeyId"] in signature for signature in exchange.signed)
    (asked,) = exchange.tokens
    assert "signed-by-kubernetes" in asked


def test_an_agent_that_answers_nothing_is_waited_for(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pod(exchange, monkeypatch, tmp_path, "pod-identity")
    exchange.refuses = True
    with pytest.raises(Infrastructure, match="the agent gives no credentials"):
        open_store(exchange.url).create("a", b"1")


def test_a_pod_with_neither_key_nor_role_is_told_what_it_lacks(exchange: Exchange) -> None:
    with pytest.raises(InputError, match=r"no credentials found; .* or the role of a pod"):
        open_store(exchange.url).create("a", b"1")
