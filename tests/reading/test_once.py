"""What many threads need of a study's files is read, and compiled, by one of them."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.prompts import HOME, Prompts
from cbt_ray.rating import scale_file
from cbt_ray.reading.once import once
from cbt_ray.reading.template_text import BoundedEnvironment
from cbt_ray.therapy import language
from tests.threads import at_once

THREADS = 32


def counted(patch: pytest.MonkeyPatch, owner: Any, name: str) -> Counter[str]:
    """How often a function was asked for what, from now on; it takes long enough for all threads
    to come.
    """
    asked, own = Counter[str](), getattr(owner, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        asked[str(args[-1])] += 1
        time.sleep(0.05)
        return own(*args, **kwargs)

    patch.setattr(owner, name, counting)
    return asked


def test_is_made_once_and_a_fault_is_not_kept() -> None:
    made: list[int] = []

    @once
    def slow(number: int) -> list[int]:
        made.append(number)
        time.sleep(0.05)
        if len(made) == 1:
            raise ValueError("a fault")
        return [number]

    with pytest.raises(ValueError, match="a fault"):
        slow(3)
    answers = at_once(THREADS, lambda _: slow(3))
    assert (made, len(set(map(id, answers)))) == ([3, 3], 1)


def test_files_of_language_and_scale_are_read_by_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(HOME / "en", tmp_path / "en")
    shutil.copytree(HOME / "ctrs", own / "ctrs")
    read = [counted(monkeypatch, one, "read_fields") for one in (language, scale_file)]
    prompts = Prompts(own)
    at_once(
        THREADS,
        lambda _: (language.load_language(prompts), scale_file.load_scales(prompts, ["ctrs"])),
    )
    assert [set(one.values()) for one in read] == [{1}, {1}]


def test_a_prompt_is_compiled_by_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.j2").write_text("{{ name }} and {{ name }}")
    compiled = counted(monkeypatch, BoundedEnvironment, "compile")
    prompts = Prompts(tmp_path)
    texts = at_once(THREADS, lambda number: prompts.render("own.j2", name=number))
    assert texts == [f"{number} and {number}" for number in range(THREADS)]
    assert list(compiled.values()) == [1]
