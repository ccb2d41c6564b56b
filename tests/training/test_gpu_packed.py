"""What is packed for the run on a GPU: all that it loads, and no more."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.needs import needs
from tests.training.gpu import pack


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Pack one wheel, and answer what lies in it in the end."""

    def made(needs: str = "", limit: int = pack.LIMIT) -> list[str]:
        wheel = tmp_path / "bitsandbytes-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as opened:
            for name in ("__init__.py", "libbitsandbytes_cuda130.so", "libbitsandbytes_cuda128.so"):
                opened.writestr(f"bitsandbytes/{name}", "x")
            opened.writestr("bitsandbytes-1.0.dist-info/METADATA", f"Name: bitsandbytes\n{needs}")
        monkeypatch.setattr(pack, "download", lambda _folder: [wheel])
        monkeypatch.setattr(pack, "EMBEDDED", str(_tokenizer(tmp_path)))
        monkeypatch.setattr(
            pack, "open_base", lambda start, _work: SimpleNamespace(folder=Path(start))
        )
        monkeypatch.setattr(pack, "LIMIT", limit)
        pack.main(tmp_path / "out")
        with zipfile.ZipFile(tmp_path / "out" / "site.zip") as site:
            return site.namelist()

    return made


def _tokenizer(folder: Path) -> Path:
    for name in ("config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    return folder


def test_what_is_packed_is_what_the_run_loads(packed: Callable[..., list[str]]) -> None:
    needs("llama", find_spec("llama_cpp") is not None)
    names = packed("Requires-Dist: torch\nRequires-Dist: mlx; sys_platform == 'darwin'\n")
    assert "bitsandbytes/libbitsandbytes_cuda130.so" in names
    assert "bitsandbytes/libbitsandbytes_cuda128.so" not in names
    assert "llama.cpp/convert_hf_to_gguf.py" in names
    assert "llama_cpp/lib/libllama.so" in names
    assert "base/tokenizer.json" in names
    assert not [name for name in names if name.startswith(("lib/", "bin/", "studio/"))]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"needs": "Requires-Dist: never-heard-of>2\n"}, "lacking: bitsandbytes: never-heard-of>2"),
        ({"limit": 1 << 20}, "1 MiB the limit"),
    ],
)
def test_what_is_lacking_or_too_large_is_said(
    packed: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    more: dict[str, Any],
    said: str,
) -> None:
    needs("llama", find_spec("llama_cpp") is not None)
    with pytest.raises(SystemExit):
        packed(**more)
    assert said in capsys.readouterr().out


def test_all_packages_are_locked_with_their_hashes() -> None:
    asked = pack.requirements((pack.ROOT / "requirements/cuda.txt").read_text())
    assert len(asked) == len(pack.PACKED)
    assert all("--hash=sha256:" in one for one in asked)
    assert not {*pack.PACKED} & pack.THERE
