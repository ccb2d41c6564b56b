"""Checkpoints in a store: the last whole one is taken up again, two are kept, SIGTERM asks for
one.
"""

from __future__ import annotations

import json
import os
import signal
import tarfile
import threading
from pathlib import Path

import pytest

from cbt_ray.errors import Infrastructure
from cbt_ray.store.folder import FolderStore
from cbt_ray.training.checkpoint import StoreCheckpoints, _unpack, clear_checkpoints, sigterm
from cbt_ray.unit import Key, Stage

KEY = Key("study", Stage.ADAPTER, "tiny-tuned", "0123456789abcdef")
DATA = "fedcba9876543210"
FOLDER = f"study/checkpoints/tiny-tuned/0123456789abcdef/{DATA}"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def checkpoints(store: FolderStore, tmp_path: Path) -> StoreCheckpoints:
    return StoreCheckpoints(store, KEY, tmp_path / "work", DATA)


def _folder(tmp_path: Path, step: int) -> Path:
    folder = tmp_path / f"checkpoint-{step}"
    folder.mkdir(exist_ok=True)
    (folder / "adapter").write_bytes(bytes([step]) * 5000)
    return folder


def _save(checkpoints: StoreCheckpoints, tmp_path: Path, *steps: int) -> None:
    for step in steps:
        checkpoints.save(step, _folder(tmp_path, step))


def _expect(checkpoints: StoreCheckpoints, step: int) -> None:
    found = checkpoints.latest()
    assert found is not None
    assert found[0] == step
    assert (found[1] / "adapter").read_bytes() == bytes([step]) * 5000


def test_there_is_none_at_first(checkpoints: StoreCheckpoints) -> None:
    assert checkpoints.latest() is None


def test_the_last_comes_back_on_another_machine(
    store: FolderStore, checkpoints: StoreCheckpoints, tmp_path: Path
) -> None:
    _save(checkpoints, tmp_path, 4, 8)
    _expect(StoreCheckpoints(store, KEY, tmp_path / "elsewhere", DATA), 8)


def test_the_last_two_are_kept(
    store: FolderStore, checkpoints: StoreCheckpoints, tmp_path: Path
) -> None:
    _save(checkpoints, tmp_path, 4, 8, 12)
    names = [f"{FOLDER}/step-{step:06d}.{kind}" for step in (8, 12) for kind in ("json", "tar")]
    assert list(store.list("study/")) == names


def test_one_within_a_step_comes_after_that_of_the_step_and_leaves_it(
    store: FolderStore, checkpoints: StoreCheckpoints, tmp_path: Path
) -> None:
    """A spot node may be gone before it is uploaded."""
    _save(checkpoints, tmp_path, 8)
    checkpoints.save(8, _folder(tmp_path, 9), batches=12)
    found = checkpoints.latest()
    assert found is not None
    assert (found[0], (found[1] / "adapter").read_bytes()[:1]) == (8, bytes([9]))
    store.replace(f"{FOLDER}/step-000008-0012.tar", b"torn")
    _expect(checkpoints, 8)
    checkpoints.save(8, _folder(tmp_path, 9), batches=2)
    _save(checkpoints, tmp_path, 9)
    assert [file for file in store.list(f"{FOLDER}/") if file.endswith(".tar")] == [
        f"{FOLDER}/step-000008-0012.tar",
        f"{FOLDER}/step-000009.tar",
    ]


@pytest.mark.parametrize("harm", ["torn", "no mark", "no tar", "mark torn", "other bytes"])
def test_a_torn_one_is_passed_over(
    store: FolderStore,
    checkpoints: StoreCheckpoints,
    tmp_path: Path,
    harm: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _save(checkpoints, tmp_path, 4, 8)
    tar, mark = store.root / FOLDER / "step-000008.tar", store.root / FOLDER / "step-000008.json"
    match harm:
        case "torn":
            tar.write_bytes(tar.read_bytes()[:3000])
        case "no mark":
            mark.unlink()
        case "no tar":
            tar.unlink()
        case "mark torn":
            mark.write_bytes(mark.read_bytes()[:10])
        case _:
            data = bytearray(tar.read_bytes())
            data[1000] ^= 1
            tar.write_bytes(data)
    _expect(checkpoints, 4)
    assert "step-000008: torn" in caplog.text


def test_a_step_saved_again_replaces_the_torn_one(
    store: FolderStore, checkpoints: StoreCheckpoints, tmp_path: Path
) -> None:
    """A folder store skips an upload whose target has the right size: what is torn must go
    first.
    """
    _save(checkpoints, tmp_path, 4)
    tar = store.root / FOLDER / "step-000004.tar"
    tar.write_bytes(b"x" * tar.stat().st_size)
    (store.root / FOLDER / "step-000004.json").unlink()
    _save(checkpoints, tmp_path, 4)
    _expect(checkpoints, 4)
    assert json.loads((store.root / FOLDER / "step-000004.json").read_text())["step"] == 4


def test_clear_leaves_nothing(
    store: FolderStore, checkpoints: StoreCheckpoints, tmp_path: Path
) -> None:
    _save(checkpoints, tmp_path, 4, 8)
    _save(StoreCheckpoints(store, KEY, tmp_path / "other", "0" * 16), tmp_path, 4)
    clear_checkpoints(store, KEY)
    assert list(store.list("study/")) == []
    assert checkpoints.latest() is None


def test_what_was_trained_on_other_data_is_not_taken_up(
    store: FolderStore, checkpoints: StoreCheckpoints, tmp_path: Path
) -> None:
    _save(checkpoints, tmp_path, 4, 8)
    assert StoreCheckpoints(store, KEY, tmp_path / "other", "0" * 16).latest() is None


def test_sigterm_sets_the_event_and_the_handler_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.wait(120)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_installs_no_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[bool] = []

    def run() -> None:
        with sigterm() as asked:
            seen.extend([asked.is_set(), signal.getsignal(signal.SIGTERM) is before])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False, True]


def test_an_archive_that_reaches_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.add(tmp_path / "file", arcname="../outside")
    with (
        tarfile.open(tmp_path / "bad.tar") as tar,
        pytest.raises(Infrastructure, match="expected plain files only"),
    ):
        _unpack(tar, tmp_path / "folder")
