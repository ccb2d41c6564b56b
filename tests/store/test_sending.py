"""What is uploaded to S3 appears whole or not at all, and is what was promised."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import Infrastructure
from cbt_ray.store import Blob, open_store, s3, sending
from cbt_ray.store.s3 import S3Store
from cbt_ray.store.store import sha256_of
from tests.s3_server import S3Servers
from tests.store.cutting_proxy import CuttingProxy, wire_to
from tests.store.examples import key

pytestmark = pytest.mark.s3
PART = 5 << 20  # the smallest that S3 takes
SIZE = 7 * PART + 345
SOME = 300_000
"""Bytes of requests beside the parts themselves, at most."""
SEND = """
import sys
from pathlib import Path
from cbt_ray.store import open_store, sending
from tests.store.examples import key
sending.PART = int(sys.argv[3])
open_store(sys.argv[1]).put_blob(key(), "model.gguf", Path(sys.argv[2]))
"""


@pytest.fixture
def wire(s3_servers: S3Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingProxy]:
    """A wire to a real S3 server; small parts, no second attempts."""
    monkeypatch.setattr(sending, "PART", PART)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    with wire_to(s3_servers) as proxy:
        yield proxy


@pytest.fixture
def store(wire: CuttingProxy, s3_servers: S3Servers, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    url = s3_servers.url("seaweedfs", monkeypatch)
    store = open_store(f"{url.partition('?')[0]}?endpoint=http://127.0.0.1:{wire.port}")
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(random.Random(3).randbytes(SIZE))
    return tmp_path / "source"


def path_of(source: Path) -> str:
    return f"demo/blobs/courses/p1/{sha256_of(source)}-model.gguf"


def parts(store: S3Store, path: str) -> list[list[int]]:
    """The numbers of the parts of each unfinished upload of an object."""
    at: Any = {"Bucket": store.address.bucket, "Key": store.address.object(path)}
    found = store.client.list_multipart_uploads(Bucket=at["Bucket"], Prefix=at["Key"]).get(
        "Uploads", []
    )
    listed = [
        store.client.list_parts(**at, UploadId=one["UploadId"]).get("Parts", []) for one in found
    ]
    return [[part["PartNumber"] for part in one] for one in listed]


def begin(store: S3Store, path: str, *pieces: bytes) -> None:
    """An unfinished upload of the object with these parts."""
    at: Any = {"Bucket": store.address.bucket, "Key": store.address.object(path)}
    upload = store.client.create_multipart_upload(**at)["UploadId"]
    for number, piece in enumerate(pieces, 1):
        store.client.upload_part(**at, UploadId=upload, PartNumber=number, Body=piece)


def fetched(store: S3Store, blob: Blob, tmp_path: Path) -> bool:
    store.fetch_blob(blob, tmp_path / "fetched")
    return store.holds(blob, thorough=True)


def test_an_upload_that_is_cut_leaves_no_object_and_a_second_one_sends_it(
    store: S3Store, wire: CuttingProxy, source: Path, tmp_path: Path
) -> None:
    """All of it: boto3 goes on with no upload of before."""
    wire.left_up = 4 * PART + PART // 2
    with pytest.raises(Infrastructure):
        store.put_blob(key(), "model.gguf", source)
    wire.left_up = None
    assert store.size(path_of(source)) is None
    wire.up = 0
    blob = store.put_blob(key(), "model.gguf", source)
    assert SIZE < wire.up < SIZE + SOME
    assert fetched(store, blob, tmp_path)


def test_process_killed_in_mid_upload_leaves_no_object(
    store: S3Store, wire: CuttingProxy, source: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SEND, store.url, str(source), str(PART)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    wire.left_up = 5 * PART + SOME  # cut there, and before it tries again the process dies
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    while wire.left_up and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    wire.left_up = None
    assert store.size(path_of(source)) is None
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert fetched(store, Blob(path_of(source), sha256_of(source), SIZE), tmp_path)


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART])
def test_sizes_at_the_edges_of_parts(
    store: S3Store, wire: CuttingProxy, tmp_path: Path, size: int
) -> None:
    (tmp_path / "file").write_bytes(random.Random(size).randbytes(size))
    assert fetched(store, store.put_blob(key(), "x", tmp_path / "file"), tmp_path)


def test_uploads_of_neighbours_are_left_alone(store: S3Store, source: Path) -> None:
    begin(store, f"{path_of(source)}.2", bytes(PART))
    store.put_blob(key(), "model.gguf", source)
    assert parts(store, f"{path_of(source)}.2") == [[1]]


def test_a_file_that_changes_on_the_way_never_appears(
    store: S3Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, send = path_of(source), store.client.upload_part

    def change(**arguments: Any) -> Any:
        if arguments["PartNumber"] == 2:
            with source.open("r+b") as stream:
                stream.seek(-10, os.SEEK_END)
                stream.write(b"otherwise!")
        return send(**arguments)

    monkeypatch.setattr(store.client, "upload_part", change)
    with pytest.raises(
        Infrastructure, match=r"source: changed while it was sent to s3://.*model\.gguf"
    ) as caught:
        store.put_blob(key(), "model.gguf", source)
    assert caught.value.kind == "store"
    assert store.size(path) is None
    assert parts(store, path) == []


def test_object_that_the_server_cuts_is_moved_aside(
    store: S3Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = store.client.complete_multipart_upload

    def cut(**arguments: Any) -> Any:
        complete(**arguments)
        return store.client.put_object(
            Bucket=arguments["Bucket"], Key=arguments["Key"], Body=source.read_bytes()[:-1]
        )

    monkeypatch.setattr(store.client, "complete_multipart_upload", cut)
    with pytest.raises(
        Infrastructure, match=f"sent {SIZE:,} bytes, the server holds {SIZE - 1:,}; moved aside"
    ):
        store.put_blob(key(), "model.gguf", source)
    assert store.size(path_of(source)) is None
    assert len(list(store.list("demo/aside/"))) == 1
    monkeypatch.undo()
    assert store.holds(store.put_blob(key(), "model.gguf", source), thorough=True)


def test_lost_answer_to_the_last_request_is_no_fault(
    store: S3Store, wire: CuttingProxy, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Botocore asks again, and the server knows no such upload any more."""
    complete = store.client.complete_multipart_upload

    def twice(**arguments: Any) -> Any:
        complete(**arguments)
        raise gone()

    monkeypatch.setattr(store.client, "complete_multipart_upload", twice)
    blob = store.put_blob(key(), "model.gguf", source)
    assert wire.up < SIZE + SOME
    assert store.holds(blob, thorough=True)


def gone() -> Exception:
    from botocore.exceptions import ClientError

    return ClientError({"Error": {"Code": "NoSuchUpload"}}, "UploadPart")


def test_processes_that_send_one_file_at_once_all_end_well(
    store: S3Store, source: Path, tmp_path: Path
) -> None:
    processes = [
        multiprocessing.get_context("fork").Process(target=put, args=(store, source))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert fetched(store, Blob(path_of(source), sha256_of(source), SIZE), tmp_path)
    assert parts(store, path_of(source)) == []


def put(store: S3Store, source: Path) -> None:
    store.put_blob(key(), "model.gguf", source)
