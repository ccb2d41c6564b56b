"""What every store must do, run against a folder and a real S3 server."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cbt_ray.errors import Infrastructure
from cbt_ray.store import Store
from cbt_ray.store import store as store_module
from cbt_ray.unit import Unit
from tests.store.examples import key, race, rejected, repair, unit
from tests.threads import at_once

PROCESSES = 8
THREADS = 64


def together(target: Callable[..., None], url: str, rounds: int) -> list[tuple[int, int, int]]:
    """Run a function in several fresh processes at once and collect what they report."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=target, args=(url, rounds, barrier, results))
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    answers = [results.get(timeout=1200) for _ in range(PROCESSES * rounds)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return answers


def tear(store: Store, one: Unit) -> bytes:
    whole = one.to_bytes()
    store.replace(str(one.key), whole[: len(whole) // 2])
    return whole[: len(whole) // 2]


@pytest.mark.parametrize("one", [unit(), rejected()], ids=["done", "rejected"])
def test_unit_comes_back_as_it_was(store: Store, one: Unit) -> None:
    assert store.get(one.key) is None
    assert store.put(one) == one
    assert store.get(one.key) == one
    assert store.read(str(one.key)) == one.to_bytes()
    assert list(store.list("demo/")) == [str(one.key)]


def test_first_writer_wins(store: Store) -> None:
    assert store.put(unit(by="first")).content == {"by": "first"}
    assert store.put(unit(by="second")).content == {"by": "first"}
    assert not store.create(str(key()), b"third")
    assert store.get(key()) == unit(by="first")


@pytest.mark.slow
def test_many_processes_race_for_one_key(store: Store, url: str) -> None:
    rounds = 5
    answers = together(race, url, rounds)
    for number in range(rounds):
        of_round = [(me, got) for n, me, got in answers if n == number]
        winners = [me for me, got in of_round if me == got]
        assert len(of_round) == PROCESSES
        assert len(winners) == 1
        assert {got for _, got in of_round} == set(winners)
        stored = store.get(key(f"race{number}"))
        assert stored is not None
        assert stored.content == {"by": winners[0]}
    assert len(list(store.list("demo/"))) == rounds


@pytest.mark.slow
def test_many_processes_meet_a_torn_unit(store: Store, url: str) -> None:
    torn = tear(store, unit("torn"))
    answers = together(repair, url, 1)
    stored = store.get(key("torn"))
    assert stored is not None
    assert {got for _, _, got in answers} == {stored.content["by"]}
    aside = list(store.list("demo/aside/"))
    assert len(aside) == 1
    assert store.read(aside[0]) == torn


def flipped(data: bytes) -> bytes:
    assert b'"calls":3' in data
    return data.replace(b'"calls":3', b'"calls":4')


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:40], flipped, lambda data: b"", lambda data: unit("p9").to_bytes()],
    ids=["truncated", "flipped", "empty", "another"],
)
def test_spoilt_unit_is_owed_moved_aside_reported_and_rewritten(
    store: Store, spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("p1", "p2"):
        store.put(unit(name))
    before = set(store.list("demo/courses/"))
    store.replace(str(key()), spoil(unit().to_bytes()))
    assert store.get(key()) is None
    assert str(key()) in caplog.text
    assert "moved aside" in caplog.text
    assert set(store.list("demo/courses/")) == before - {str(key())}
    assert [store.read(path) for path in store.list("demo/aside/")] == [spoil(unit().to_bytes())]
    assert store.put(unit()) == unit()
    assert set(store.list("demo/courses/")) == before


def test_put_over_a_torn_winner_writes_the_unit(store: Store) -> None:
    tear(store, unit())
    assert store.put(unit(by="me")) == unit(by="me")
    assert store.get(key()) == unit(by="me")


def test_one_who_saw_the_torn_unit_late_leaves_the_new_one_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = tear(store, unit())
    store.set_aside(str(key()), torn)
    store.put(unit(by="quick"))
    store.set_aside(str(key()), torn)
    assert store.get(key()) == unit(by="quick")


def test_torn_unit_whose_remover_died_is_removed_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "GRACE_S", 0.2)
    for _ in range(2):  # the second time its copy aside is there already
        tear(store, unit())
        assert store.get(key()) is None
    assert len(list(store.list("demo/aside/"))) == 1


def test_rejected_unit_is_set_aside_for_another_try(store: Store) -> None:
    store.put(rejected())
    found = store.get(rejected().key)
    assert found is not None
    store.set_aside(str(found.key), found.to_bytes())
    assert store.get(found.key) is None
    assert len(list(store.list("demo/aside/"))) == 1


def test_list_is_by_prefix_and_sorted(store: Store) -> None:
    paths = ["demo/a/b/1", "demo/a-b/1", "demo/a/c/d/2", "demo2/x/1", "demo/ü/1"]
    for path in paths:
        store.replace(path, b"x")
    assert list(store.list("")) == sorted(paths)
    assert list(store.list("demo")) == sorted(paths)
    assert list(store.list("demo/")) == sorted(path for path in paths if path.startswith("demo/"))
    assert list(store.list("demo/a")) == ["demo/a-b/1", "demo/a/b/1", "demo/a/c/d/2"]
    assert list(store.list("demo/a/c/d/2")) == ["demo/a/c/d/2"]
    assert list(store.list("nothing/")) == []


def test_list_of_more_than_one_page(store: Store) -> None:
    paths = [f"demo/many/{number:04}" for number in range(1005)]
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda path: store.create(path, b"x"), paths))
    assert list(store.list("demo/many/")) == paths


def test_primitives(store: Store) -> None:
    assert store.read("demo/a") is None
    assert store.size("demo/a") is None
    store.move("demo/a", "demo/b")
    store.delete("demo/a")
    assert list(store.list("")) == []
    store.replace("demo/a", b"1")
    store.replace("demo/a", b"two")
    store.move("demo/a", "demo/c/b")
    assert store.read("demo/a") is None
    assert store.read("demo/c") is None
    assert store.read("demo/c/b") == b"two"
    assert store.size("demo/c/b") == 3
    store.delete("demo/c/b")
    assert list(store.list("")) == []


def test_get_many_keeps_the_order(store: Store) -> None:
    for number in range(0, 40, 2):
        store.put(unit(f"p{number}", n=number))
    keys = [key(f"p{number}") for number in range(40)]
    answers = list(store.get_many(keys))
    assert [asked for asked, _ in answers] == keys
    assert [one.content["n"] if one else None for _, one in answers] == [
        n if n % 2 == 0 else None for n in range(40)
    ]
    assert list(store.get_many([])) == []


def test_what_can_be_read_is_read_and_nothing_is_moved_aside(store: Store) -> None:
    store.put(unit("p1"))
    torn, old = unit("p2").to_bytes()[:-5], b'{"format":1,"sha256":"%b"}' % (b"0" * 64)
    paths = [str(key("p1")), str(key("p2")), str(key("p3")), str(key("p4"))]
    for path, data in zip(paths[1:], (torn, old), strict=False):
        store.create(path, data)
    assert list(store.readable(paths)) == [replace(unit("p1"), content={}), None, None, None]
    assert sorted(store.list("demo/")) == paths[:3]


def test_store_goes_to_other_processes_and_threads(store: Store) -> None:
    store.put(unit())
    again = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own
    assert again.url == store.url
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: again.get(key()), range(16))) == [unit()] * 16


def test_threads_of_one_process_share_a_store(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def work(number: int) -> tuple[Unit, Unit | None, list[str]]:
        own = store.put(unit(f"p{number}", by=number))
        shared = store.put(unit("shared", by=number))
        assert store.get(own.key) == own == unit(f"p{number}", by=number)
        return shared, store.get(shared.key), [one.key.id for one in store.heads([own.key] * 12)]

    answers = at_once(THREADS, work)
    assert {put.content["by"] for put, _, _ in answers} < set(range(THREADS))
    assert all(put == got == answers[0][0] for put, got, _ in answers)
    assert [heads for _, _, heads in answers] == [[f"p{n}"] * 12 for n in range(THREADS)]
    assert len(list(store.list(""))) == THREADS + 1
    assert not caplog.messages, "such as connections that were made for one request"


def test_threads_that_meet_a_torn_unit_make_it_once(store: Store) -> None:
    torn = tear(store, unit("torn"))

    def work(number: int) -> Unit:
        return store.get(key("torn")) or store.put(unit("torn", by=number))

    answers = at_once(THREADS, work)
    assert set(map(str, answers)) == {str(store.get(key("torn")))}
    [aside] = store.list("demo/aside/")
    assert store.read(aside) == torn


def test_check_leaves_nothing_behind(store: Store) -> None:
    store.check()
    store.check()
    assert list(store.list("")) == []


def test_blob_comes_back_and_equal_files_are_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"weights" * 1000)
    blob = store.put_blob(key(), "a.gguf", tmp_path / "a")
    monkeypatch.setattr(store, "upload", None)  # a second upload would fail
    assert store.put_blob(key(), "a.gguf", tmp_path / "a") == blob
    target = tmp_path / "new" / "folder" / "b"
    assert store.fetch_blob(blob, target).read_bytes() == b"weights" * 1000
    assert [file.name for file in target.parent.iterdir()] == ["b"]
    monkeypatch.setattr(store, "download", None)  # a file that is there and right is kept
    store.fetch_blob(blob, target)


@pytest.mark.parametrize("damage", ["corrupt", "lost"])
def test_damaged_blob_is_never_used_and_its_unit_owed(
    store: Store, tmp_path: Path, damage: str
) -> None:
    (tmp_path / "a").write_bytes(b"weights" * 1000)
    blob = store.put_blob(key(), "a.gguf", tmp_path / "a")
    store.put(unit(blob=blob.to_json()))
    if damage == "corrupt":
        store.replace(blob.path, b"weightz" * 1000)
    else:
        store.delete(blob.path)
    with pytest.raises(Infrastructure, match=r"a\.gguf"):
        store.fetch_blob(blob, tmp_path / "b", owner=key())
    assert not (tmp_path / "b").exists()
    assert store.get(key()) is None
    assert store.size(blob.path) is None
    assert len(list(store.list("demo/aside/"))) == (2 if damage == "corrupt" else 1)
    store.put_blob(key(), "a.gguf", tmp_path / "a")
    assert store.fetch_blob(blob, tmp_path / "b").read_bytes() == b"weights" * 1000


def test_upload_replaces_a_file_of_equal_size(store: Store, tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / "mark").write_text(text)
        store.upload(tmp_path / "mark", "demo/checkpoints/mark")
    assert store.read("demo/checkpoints/mark") == b"two"


def test_upload_of_other_bytes_than_expected_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    with pytest.raises(Infrastructure, match="changed while it was") as caught:
        store.upload(tmp_path / "file", "demo/blobs/x", sha256="0" * 64)
    assert caught.value.kind == "store"
    assert list(store.list("")) == []


@pytest.mark.parametrize("harm", ["none", "cut", "changed", "lost"])
def test_store_knows_whether_it_holds_a_blob_whole(store: Store, tmp_path: Path, harm: str) -> None:
    data = b"weights" * 1000
    (tmp_path / "a").write_bytes(data)
    blob = store.put_blob(key(), "a.gguf", tmp_path / "a")
    if harm == "lost":
        store.delete(blob.path)
    elif harm != "none":
        store.replace(blob.path, data[:-1] if harm == "cut" else data.upper())
    assert store.holds(blob, thorough=True) == (harm == "none")
    if harm != "changed":  # without reading it, S3 knows the size only
        assert store.holds(blob) == (harm == "none")
    if harm in {"cut", "lost"}:
        assert store.holds(store.put_blob(key(), "a.gguf", tmp_path / "a"), thorough=True)
