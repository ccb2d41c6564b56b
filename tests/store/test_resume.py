"""A download from S3 that is cut off goes on where it ended, also in another process.

What changed meanwhile is begun anew.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbt_ray.errors import Infrastructure
from cbt_ray.store import Blob, Store, open_store, s3
from cbt_ray.store.store import sha256_of
from tests.s3_server import S3Servers
from tests.store.cutting_proxy import CuttingProxy, wire_to
from tests.store.examples import key

pytestmark = pytest.mark.s3
PIECE = 100_000
SIZE = 12 * PIECE + 345


@pytest.fixture
def wire(s3_servers: S3Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingProxy]:
    """A wire to a real S3 server; small pieces, no second attempts."""
    monkeypatch.setattr(s3, "PIECE", PIECE)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    with wire_to(s3_servers) as proxy:
        yield proxy


@pytest.fixture
def store(wire: CuttingProxy, s3_servers: S3Servers, monkeypatch: pytest.MonkeyPatch) -> Store:
    url = s3_servers.url("seaweedfs", monkeypatch)
    return open_store(f"{url.partition('?')[0]}?endpoint=http://127.0.0.1:{wire.port}")


@pytest.fixture
def blob(store: Store, tmp_path: Path) -> Blob:
    (tmp_path / "source").write_bytes(random.Random(3).randbytes(SIZE))
    return store.put_blob(key(), "model.gguf", tmp_path / "source")


def cut(
    store: Store, wire: CuttingProxy, blob: Blob, target: Path, after: int = 5 * PIECE + PIECE // 2
) -> int:
    """Begin a download and cut it.

    Answers how many bytes of it are there, whole pieces from the beginning.
    """
    wire.left = after
    with pytest.raises(Infrastructure):
        store.fetch_blob(blob, target)
    wire.left = None
    wire.ranges.clear()
    assert not target.exists()
    (part,) = target.parent.glob(f".{target.name}.*.part")
    there = part.stat().st_size
    assert there % PIECE == 0
    assert 0 < there <= after
    return there


def test_second_attempt_asks_only_for_the_rest(
    store: Store, wire: CuttingProxy, blob: Blob, tmp_path: Path
) -> None:
    target = tmp_path / "cache" / "model.gguf"
    there = cut(store, wire, blob, target)
    store.fetch_blob(blob, target)
    assert sorted(wire.ranges) == [
        (at, min(at + PIECE, SIZE) - 1) for at in range(there, SIZE, PIECE)
    ]
    assert sha256_of(target) == blob.sha256
    assert [file.name for file in target.parent.iterdir()] == ["model.gguf"]


def test_a_part_of_another_version_is_not_gone_on_with(
    store: Store, wire: CuttingProxy, blob: Blob, tmp_path: Path
) -> None:
    target = tmp_path / "cache" / "model.gguf"
    cut(store, wire, blob, target)
    (tmp_path / "source").write_bytes(random.Random(4).randbytes(SIZE))
    store.upload(tmp_path / "source", blob.path)
    assert store.download(blob.path, target)
    assert min(wire.ranges)[0] == 0
    assert sha256_of(target) == sha256_of(tmp_path / "source")


def test_a_part_that_was_harmed_on_this_machine_costs_a_second_download_and_not_the_blob(
    store: Store, wire: CuttingProxy, blob: Blob, tmp_path: Path
) -> None:
    target = tmp_path / "cache" / "model.gguf"
    cut(store, wire, blob, target)
    (part,) = target.parent.glob(".*.part")
    part.write_bytes(bytes(part.stat().st_size))
    store.fetch_blob(blob, target)
    assert sha256_of(target) == blob.sha256
    assert store.size(blob.path) == SIZE


def test_a_part_that_is_longer_than_the_object_is_begun_anew(
    store: Store, wire: CuttingProxy, blob: Blob, tmp_path: Path
) -> None:
    target = tmp_path / "cache" / "model.gguf"
    cut(store, wire, blob, target)
    (part,) = target.parent.glob(".*.part")
    part.write_bytes(bytes(SIZE + 1))
    assert store.download(blob.path, target)
    assert sha256_of(target) == blob.sha256


@pytest.mark.parametrize("size", [0, 1, PIECE, 2 * PIECE])
def test_sizes_at_the_edges_of_pieces(
    store: Store, wire: CuttingProxy, tmp_path: Path, size: int
) -> None:
    (tmp_path / "source").write_bytes(random.Random(size).randbytes(size))
    store.upload(tmp_path / "source", "demo/blobs/edge")
    assert store.download("demo/blobs/edge", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()
    assert len(wire.ranges) == -(-size // PIECE)
    assert not store.download("demo/blobs/none", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_processes_that_fetch_one_file_at_once_all_get_it_whole(
    store: Store, blob: Blob, tmp_path: Path
) -> None:
    target = tmp_path / "cache" / "model.gguf"
    processes = [
        multiprocessing.get_context("fork").Process(target=fetch, args=(store, blob, target))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert sha256_of(target) == blob.sha256
    assert [file.name for file in target.parent.iterdir()] == ["model.gguf"]


def fetch(store: Store, blob: Blob, target: Path) -> None:
    assert store.download(blob.path, target)
    assert sha256_of(target) == blob.sha256
