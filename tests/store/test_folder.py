"""What only the folder store can get wrong: permissions, a full disk, killed writers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store import folder, open_store
from tests.needs import needs
from tests.store.examples import key, unit

FILL = """
import sys
from pathlib import Path
from cbt_ray.errors import Infrastructure
from cbt_ray.store import folder, open_store
from tests.store.examples import key, unit
store = open_store(sys.argv[1])
big = Path(sys.argv[2])
big.write_bytes(b"x" * 2_000_000)
writes = (
    lambda: store.put(unit(text="x" * 2_000_000)),
    lambda: store.upload(big, "demo/blobs/big"),
    lambda: store.replace("demo/r", b"x" * 2_000_000),
)
for write in writes:
    try:
        write()
    except Infrastructure as error:
        assert error.kind == "store" and "No space left" in str(error), error
    else:
        raise SystemExit("the disk was not full")
assert store.get(key()) is None and list(store.list("")) == []
assert not list(Path(sys.argv[1], ".tmp").iterdir())
store.put(unit())
print("whole")
"""


def test_full_disk_leaves_the_unit_owed_and_nothing_half_written(tmp_path: Path) -> None:
    command = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"',
        "sh",
    ]
    disk = tmp_path / "disk"
    disk.mkdir()
    can = (
        shutil.which("unshare")
        and subprocess.run(
            [*command, str(disk), "true"], capture_output=True, check=False
        ).returncode
        == 0
    )
    needs("mount namespaces", bool(can))
    done = subprocess.run(
        [*command, str(disk), sys.executable, "-c", FILL, str(disk), str(tmp_path / "big")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


@pytest.mark.parametrize("place", ["file/store", "/proc/store"])
def test_folder_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="expected a folder that can be written") as caught:
        open_store(str(tmp_path / place)).check()
    assert "\n" not in str(caught.value)
    with pytest.raises(Infrastructure):
        open_store(str(tmp_path / place)).put(unit())


def test_folder_that_cannot_be_read_does_not_look_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    store = open_store(str(tmp_path))
    store.put(unit())
    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(folder, "FileIO", refuse)
    with pytest.raises(Infrastructure, match="Permission denied"):
        list(store.list("demo/"))
    with pytest.raises(Infrastructure, match="Permission denied"):
        store.get(key())


def test_a_folder_in_a_units_place_is_the_users_to_take_away(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (tmp_path / str(key())).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{key().h16}: expected a file, found a folder"):
        store.put(unit())


def test_file_system_without_write_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        os, "link", lambda source, target: Path(target).write_bytes(Path(source).read_bytes())
    )
    with pytest.raises(InputError, match="hard link"):
        open_store(str(tmp_path)).check()


def test_what_killed_writers_left_is_never_listed_and_cleaned_when_old(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put(unit())
    fresh, old = tmp_path / ".tmp" / "fresh", tmp_path / ".tmp" / "old"
    for left in (fresh, old):
        left.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    assert [*store.list(""), *store.list(".tmp/")] == [str(key())]
    store.check()
    assert fresh.exists()
    assert not old.exists()


def test_download_cleans_what_killed_ones_left(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.replace("demo/a", b"whole")
    left = tmp_path / ".file.0123.part"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    assert store.download("demo/a", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "store"]


def test_blob_read_in_place_is_checked_and_moved_aside_too(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "a").write_bytes(b"weights")
    blob = store.put_blob(key(), "a.gguf", tmp_path / "a")
    place = tmp_path / "store" / blob.path
    assert store.fetch_blob(blob, place) == place
    place.write_bytes(b"weightz")
    with pytest.raises(Infrastructure, match="SHA-256"):
        store.fetch_blob(blob, place)
    assert [store.read(path) for path in store.list("")] == [b"weightz"]
    assert not place.exists()


def test_path_out_of_the_store_is_no_path(tmp_path: Path) -> None:
    for path in ("../a", "/etc/a", "demo/../../a"):
        with pytest.raises(ValueError, match="no path"):
            open_store(str(tmp_path)).replace(path, b"")


def test_units_can_be_read_by_other_users(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        open_store(str(tmp_path)).put(unit())
    finally:
        os.umask(mask)
    assert (tmp_path / str(key())).stat().st_mode & 0o777 == 0o644


def test_relative_folder_is_the_same_after_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("runs")
    monkeypatch.chdir("/")
    store.put(unit())
    assert (tmp_path / "runs" / str(key())).is_file()
