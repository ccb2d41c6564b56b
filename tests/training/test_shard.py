"""Safetensors files: what of a header is believed, and an index with its files."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.training.shard import INDEX, check_safetensors, shards_of
from cbt_ray.training.start.four_bit import check_folder

HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
    "c": {"dtype": "U8", "shape": [0, 7], "data_offsets": [16, 16]},
}


def written(header: Any, data: int = 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def changed(name: str, **fields: Any) -> dict[str, Any]:
    return {**HEADER, name: {**HEADER[name], **fields}}  # type: ignore[dict-item]


def test_a_whole_file_is_taken_and_one_byte_less_is_not(tmp_path: Path) -> None:
    file, whole = tmp_path / "model.safetensors", written(HEADER)
    file.write_bytes(whole)
    begin, entries = check_safetensors(file)
    assert (begin, set(entries)) == (len(whole) - 16, {"a", "b", "c"})
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(
            InputError, match=r"model\.safetensors: expected a safetensors file, but"
        ) as error:
            check_safetensors(file)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            struct.pack("<Q", 2**63) + bytes(90),
            "its header would have 9,223,372,036,854,775,808 bytes",
        ),
        (written(b"[]"), "its header is no object"),
        (written(b'{"a": 1, "a": 2}'), "'a' is given twice"),
        (written(b"[" * 50_000), "nested too deep"),
        (written(b"\xff\xfe"), "its header is no JSON"),
        (written(HEADER, 17), "the file has"),
        (written({"a": 3}), "'a' has no type, shape and place"),
        (written(changed("a", dtype="Q4")), "'a' is of a type, 'Q4'"),
        (written(changed("a", dtype=["F16"])), "'a' has no type"),
        (written(changed("a", shape=[2, 4])), "'a' takes 12 bytes"),
        (written(changed("a", shape=[2**40, 2**40])), "'a' takes 12 bytes"),
        (written(changed("a", shape=[-2, -3])), "'a' has no type, shape"),
        (written(changed("a", shape=[1] * 1000)), "'a' has no type, shape"),
        (written(changed("a", shape=[True, 6])), "'a' has no type, shape"),
        (written(changed("a", data_offsets=[4, 16])), "begins at"),
        (written(changed("b", data_offsets=[14, 18]), 18), "'b' begins at 14, not at 12"),
        (written(changed("b", data_offsets=[12])), "'b' has no type, shape and place"),
    ],
)
def test_what_a_header_says_is_not_believed(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    with pytest.raises(InputError, match=said) as error:
        check_safetensors(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(100))
def test_a_file_with_wrong_bytes_is_taken_or_refused_on_one_line(tmp_path: Path, seed: int) -> None:
    chance, data = random.Random(seed), bytearray(written(HEADER))
    for _ in range(chance.choice((1, 2, 20))):
        at = chance.randrange(len(data))
        data[at] = chance.choice((0, 255, chance.randrange(256), *b'{}[]",:019'))
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    said = refusal(check_safetensors, file)
    assert said is None or (str(file) in said and "\n" not in said)


def refusal(read: Callable[[Path], object], file: Path) -> str | None:
    try:
        read(file)
    except InputError as error:
        return str(error)
    return None


def folder_of(folder: Path) -> Path:
    (folder / "config.json").write_text("{}")
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name in names:
        (folder / name).write_bytes(written(HEADER))
    (folder / INDEX).write_text(
        json.dumps({"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}})
    )
    return folder


def test_an_index_names_files_that_are_there_and_whole(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    check_folder(folder)
    second = folder / shards_of(folder)[1]
    second.write_bytes(written(HEADER)[:-1])
    with pytest.raises(InputError, match=f"{second.name}: expected a safetensors file, but"):
        check_folder(folder)
    second.unlink()
    with pytest.raises(
        InputError, match=f"weight_map: expected the file '{second.name}' next to it, there is none"
    ):
        check_folder(folder)


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../x.safetensors"}}',
        "[" * 90_000,
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: str) -> None:
    folder = folder_of(tmp_path)
    (folder / INDEX).write_text(index)
    with pytest.raises(InputError, match=INDEX.replace(".", r"\.")) as error:
        check_folder(folder)
    assert "\n" not in str(error.value)


def test_a_folder_without_safetensors_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(InputError, match="expected weights as safetensors, found none"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: expected a model's settings"):
        check_folder(tmp_path)
