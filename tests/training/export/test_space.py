"""A SentencePiece vocabulary, as Mistral has one: llama.cpp and training's tokenizer put spaces in
the same places.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.llm.request import Message
from cbt_ray.training.export import gguf
from cbt_ray.training.export.gguf import convert, convert_vocabulary
from cbt_ray.training.export.merge import merge
from cbt_ray.training.export.space import space_in_front
from cbt_ray.training.gate.gate import foresee, gate
from cbt_ray.training.start.base import Base, open_base
from tests.training.conftest import TINY
from tests.training.pieces import FIRST, PREPEND, REPLACE, write_model, write_tokenizer
from tests.training.sessions import PAIRS, SYSTEM

pytestmark = [pytest.mark.train, pytest.mark.llama]
ASKED = [[Message("system", SYSTEM), Message("user", said)] for said, _ in PAIRS]


@pytest.fixture(scope="module")
def model(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, but for its tokenizer.json."""
    folder = tmp_path_factory.mktemp("pieces")
    write_model(
        folder, {**json.loads((base.folder / "config.json").read_text()), **TINY, "head_dim": 16}
    )
    return folder


def _base(
    model: Path, normalizer: dict[str, Any] | None, pre_tokenizer: dict[str, Any] | None, work: Path
) -> Base:
    write_tokenizer(model, normalizer, pre_tokenizer)
    return open_base(str(model), work)


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "expected"),
    [
        (None, FIRST, False),
        (None, {**FIRST, "prepend_scheme": "always"}, True),
        (PREPEND, None, True),
    ],
)
def test_both_make_the_same_tokens(
    model: Path,
    tmp_path: Path,
    normalizer: dict[str, Any] | None,
    pre_tokenizer: dict[str, Any] | None,
    expected: bool,
) -> None:
    base = _base(model, normalizer, pre_tokenizer, tmp_path)
    assert space_in_front(model / "tokenizer.json") is expected
    assert (
        foresee(base, ASKED, convert_vocabulary(base.folder, tmp_path / "v.gguf", 1), 1).failed
        == ()
    )


def test_what_the_settings_say_would_be_refused_before_training(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the converter reads the folder by itself."""
    base = _base(model, None, FIRST, tmp_path)
    monkeypatch.setattr(gguf, "space_in_front", lambda _file: None)
    vocabulary = convert_vocabulary(base.folder, tmp_path / "v.gguf", 1)
    assert foresee(base, ASKED, vocabulary, 1).failed == ("tokens",)


def test_a_plain_text_begins_with_a_space_that_llama_cpp_leaves_out(
    model: Path, tmp_path: Path
) -> None:
    """What llama.cpp cannot do, and what is said of it before training."""
    base = _base(model, None, FIRST, tmp_path)
    vocabulary = convert_vocabulary(base.folder, tmp_path / "v.gguf", 1)
    assert foresee(base, ["Be a therapist."], vocabulary, 1).failed == ("tokens",)


def test_such_a_model_passes_its_gate(model: Path, tmp_path: Path) -> None:
    """The folder that others read keeps its settings, and nothing is left beside it."""
    base = _base(model, None, FIRST, tmp_path)
    merged = merge(base, None, tmp_path / "merged")
    f16 = convert(merged, tmp_path / "model.gguf", "f16", 1).path
    assert gate(base, None, merged, f16, f16, ASKED, 1, tuned=False).failed == ()
    assert json.loads((merged / "tokenizer_config.json").read_text())["add_prefix_space"] is True
    assert {file.name for file in tmp_path.iterdir()} == {"merged", "model.gguf"}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"normalizer": REPLACE}, False),
        ({"pre_tokenizer": {**FIRST, "prepend_scheme": "never"}}, False),
        (
            {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": False}},
            False,
        ),
        (
            {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}},
            True,
        ),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, FIRST]}},
            False,
        ),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, None),
    ],
)
def test_where_the_space_is_said(
    part: dict[str, Any], expected: bool | None, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"normalizer": None, "pre_tokenizer": None, **part})
    )
    assert space_in_front(tmp_path / "tokenizer.json") is expected


def test_another_kind_of_tokenizer_is_left_as_it_is(base: Base, tmp_path: Path) -> None:
    assert space_in_front(base.folder / "tokenizer.json") is None
    assert space_in_front(tmp_path / "none.json") is None
