"""Deliveries: what a command writes for its user, and that nothing of the user's is touched, killed
or not.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cbt_ray.commands.delivery import LIST, PARTS, Delivery
from cbt_ray.errors import InputError
from cbt_ray.store import Blob

FILES: dict[str, bytes | Blob] = {
    "scores.csv": b"a\n",
    "dataset/train.jsonl": b"{}\n",
    "analysis.json": b"1",
}


def deliver(
    folder: Path, files: dict[str, bytes | Blob], by: str = "data", *, whole: bool = True
) -> None:
    Delivery(folder, by, whole=whole).hand_over(files)


def tree(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for the list."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != LIST}


def refusal(folder: Path, files: dict[str, bytes | Blob], by: str = "data") -> str:
    """The line, where nothing was changed."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}, tree(folder)
    with pytest.raises(InputError) as error:
        deliver(folder, files, by)
    assert ({path: path.stat().st_mtime_ns for path in folder.rglob("*")}, tree(folder)) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_files_of_the_user_stay(tmp_path: Path) -> None:
    own = {
        "analysis.R": b"r",
        "scores.xlsx": b"x",
        "dataset/my_own.csv": b"c",
        "dataset/dataset.txt": b"d",
        "courses/x.md": b"m",
    }
    for name, data in own.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    deliver(tmp_path, FILES)
    assert tree(tmp_path) == {**own, **FILES}
    deliver(tmp_path, {"scores.csv": b"b\n"})
    assert tree(tmp_path) == {**own, "scores.csv": b"b\n"}
    assert not (tmp_path / PARTS).exists()


def test_what_an_earlier_run_wrote_is_replaced_or_removed(tmp_path: Path) -> None:
    deliver(tmp_path, FILES)
    deliver(tmp_path, {"scores.csv": b"b\n"})
    assert tree(tmp_path) == {"scores.csv": b"b\n"}
    assert not (tmp_path / "dataset").exists()
    assert list(json.loads((tmp_path / LIST).read_text())["files"]) == ["scores.csv"]


def test_a_file_of_the_users_under_a_wanted_name_is_named_and_nothing_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "scores.csv").write_bytes(b"mine")
    assert f"--to: {tmp_path / 'scores.csv'} is in the way, cbt-ray did not write it" in refusal(
        tmp_path, FILES
    )


def test_a_file_that_the_user_changed_is_named_and_nothing_written(tmp_path: Path) -> None:
    deliver(tmp_path, FILES)
    (tmp_path / "scores.csv").write_bytes(b"with a note")
    assert f"{tmp_path / 'scores.csv'} was changed since cbt-ray wrote it" in refusal(
        tmp_path, {**FILES, "scores.csv": b"b\n"}
    )


def test_a_file_that_the_user_changed_and_that_is_wanted_no_more_stays(tmp_path: Path) -> None:
    deliver(tmp_path, FILES)
    (tmp_path / "scores.csv").write_bytes(b"with a note")
    deliver(tmp_path, {"analysis.json": b"2"})
    assert tree(tmp_path) == {"scores.csv": b"with a note", "analysis.json": b"2"}
    assert "is in the way" in refusal(tmp_path, FILES)


def test_commands_do_not_remove_each_others_files(tmp_path: Path) -> None:
    deliver(tmp_path, FILES)
    deliver(tmp_path, {"report.html": b"p", "analysis.json": b"2"}, "analyze")
    assert tree(tmp_path) == {**FILES, "report.html": b"p", "analysis.json": b"2"}
    deliver(tmp_path, {"model.gguf": b"m"}, "weights", whole=False)
    deliver(tmp_path, {"other.gguf": b"o"}, "weights", whole=False)
    assert set(tree(tmp_path)) == {*FILES, "report.html", "model.gguf", "other.gguf"}


@pytest.mark.parametrize("wanted", ["scores.csv", "dataset/train.jsonl"])
def test_links_are_not_followed(tmp_path: Path, wanted: str) -> None:
    folder, outside = tmp_path / "to", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "train.jsonl").write_bytes(b"mine")
    link = folder / wanted.split("/")[0]
    link.symlink_to(outside if "/" in wanted else outside / "train.jsonl")
    assert str(folder / wanted) in refusal(folder, FILES)
    assert tree(outside) == {"train.jsonl": b"mine"}


def test_a_link_that_took_the_place_of_a_written_folder_is_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "to", tmp_path / "outside"
    deliver(folder, FILES)
    (folder / "dataset").rename(outside)
    (folder / "dataset").symlink_to(outside)
    deliver(folder, {"scores.csv": b"b\n"})
    assert tree(outside) == {"train.jsonl": b"{}\n"}


def test_the_folder_itself_may_be_a_link_and_its_parts_may_not(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "to").symlink_to(tmp_path / "real")
    deliver(tmp_path / "to", FILES)
    assert tree(tmp_path / "real") == FILES
    (tmp_path / "real" / PARTS).symlink_to(tmp_path)
    assert f"{PARTS} is a link" in refusal(tmp_path / "to", {"scores.csv": b"b\n"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"files": []}',
        '{"files": {"../outside": {"by": "data", "sha256": []}}}',
        '{"files": {"/etc/x": {"by": "data", "sha256": []}}}',
        '{"files": {"a\\u0000": {"by": "data", "sha256": []}}}',
        '{"files": {"a": {"by": "data", "sha256": ["x"]}}}',
        '{"files": {"a": {"by": 3, "sha256": []}}}',
        '{"files": {"a": null}}',
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / LIST).write_text(text)
    assert str(tmp_path / LIST) in refusal(tmp_path, FILES)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_one(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(
        InputError, match=r"--to: expected a folder that can be written, .* is none"
    ):
        deliver(tmp_path / place, FILES)


@pytest.mark.parametrize("step", range(12))
def test_the_next_run_goes_on_wherever_one_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Killed before each renaming and each removal in turn, in a folder that holds a file of the
    user's.
    """
    new: dict[str, bytes | Blob] = {
        "scores.csv": b"b\n",
        "analysis.json": b"2",
        "courses.csv": b"c\n",
    }
    deliver(tmp_path, FILES)
    (tmp_path / "mine.txt").write_bytes(b"mine")
    done = [0]

    class Killed(BaseException):
        pass

    def counted(call: object) -> object:
        def once(*arguments: object, **named: object) -> object:
            done[0] += 1
            if done[0] > step:
                raise Killed
            return call(*arguments, **named)

        return once

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        try:
            deliver(tmp_path, new)
        except Killed:
            assert step < 11
    deliver(tmp_path, {**new, "scores.csv": b"c\n"})
    assert tree(tmp_path) == {**new, "scores.csv": b"c\n", "mine.txt": b"mine"}


def test_a_large_file_is_fetched_once_and_only_where_it_is_lacking(tmp_path: Path) -> None:
    import hashlib

    fetched: list[Path] = []

    def fetch(blob: Blob, file: Path) -> None:
        fetched.append(file)
        file.write_bytes(b"gguf")

    blob = Blob("s/blobs/x", hashlib.sha256(b"gguf").hexdigest(), 4)
    for _ in range(2):
        Delivery(tmp_path / "to", "weights", fetch, whole=False).hand_over({"model.gguf": blob})
    assert len(fetched) == 1
    assert tree(tmp_path / "to") == {"model.gguf": b"gguf"}


def test_other_kinds_of_file_are_in_the_way(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scores.csv")
    with pytest.raises(InputError, match=r"scores\.csv is in the way"):
        deliver(tmp_path, FILES)


def test_a_report_from_a_cluster_leaves_what_is_the_users(tmp_path: Path) -> None:
    from types import SimpleNamespace
    from typing import Any, cast

    from cbt_ray.cluster.run import _bring_report
    from cbt_ray.store.folder import FolderStore

    store = FolderStore(tmp_path / "store")
    for path in ("s/report.html", "s/tables/scores.csv"):
        store.replace(path, path.encode())
    study = SimpleNamespace(study="s", file="s.yaml")
    site = SimpleNamespace(
        study=study, bench=SimpleNamespace(store=store), overlay=SimpleNamespace(name="kind")
    )
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "notes.md").write_bytes(b"mine")
    _bring_report(cast(Any, site), tmp_path / "to", lambda _: None)
    report: dict[str, bytes] = {
        "report.html": b"s/report.html",
        "tables/scores.csv": b"s/tables/scores.csv",
    }
    assert tree(tmp_path / "to") == {**report, "notes.md": b"mine"}
