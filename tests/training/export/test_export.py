"""A model is converted once.

What llama.cpp quantizes from that is what the converter would have written itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.quantize import quantize
from cbt_ray.store.store import sha256_of
from cbt_ray.study.licence import Licence, demands
from cbt_ray.study.recipe import Recipe
from cbt_ray.study.terms import find
from cbt_ray.training.export.export import Exported, export
from cbt_ray.training.export.front import Front
from cbt_ray.training.export.gguf import convert
from cbt_ray.training.gate.gate import gate
from cbt_ray.training.start.base import Base, open_base
from tests.training.conftest import TINY

pytestmark = pytest.mark.train
WIDE = {**TINY, "hidden_size": 256, "intermediate_size": 512}


@pytest.fixture(scope="module")
def wide(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """As the tiny model, with rows of 256 numbers, which K-quants ask for."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide")
    config = {**json.loads((base.folder / "config.json").read_text()), **WIDE, "head_dim": 64}
    torch.manual_seed(11)
    LlamaForCausalLM(LlamaConfig(**config)).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(base.folder / name, folder / name)
    return open_base(str(folder), folder)


@pytest.fixture(scope="module")
def exported(wide: Base, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    recipe = Recipe(start=".", compare=".", licence="none")
    return export(wide, None, recipe, tmp_path_factory.mktemp("exported"), 1)


def tensors(gguf: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of each tensor."""
    from gguf import GGUFReader

    return {
        one.name: (one.tensor_type.name, one.data.tobytes()) for one in GGUFReader(gguf).tensors
    }


def types(gguf: Path) -> set[str]:
    return {kind for name, (kind, _) in tensors(gguf).items() if "norm" not in name}


def metadata(gguf: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {name: field.contents() for name, field in GGUFReader(gguf).fields.items()}


def test_three_forms_of_one_model(exported: Exported) -> None:
    assert exported.f16.path.name == "model-f16.gguf"
    assert exported.gguf.path.name == "model-q8_0.gguf"
    for one in (exported.f16, exported.gguf):
        assert one.sha256 == sha256_of(one.path)
    assert types(exported.f16.path) == {"F16"}
    assert types(exported.gguf.path) == {"Q8_0"}
    for name in (
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ):
        assert (exported.merged / name).exists()


def test_f16_is_converted_and_nothing_else(wide: Base, tmp_path: Path) -> None:
    said: list[str] = []
    recipe = Recipe(start=".", compare=".", licence="none", quantization="f16")
    exported = export(wide, None, recipe, tmp_path, 1, said.append)
    assert exported.gguf is exported.f16
    assert said == ["merge", "convert"]
    assert [file.name for file in tmp_path.glob("*.gguf")] == ["model-f16.gguf"]


def test_q8_0_is_the_converters_own_to_the_byte(exported: Exported, tmp_path: Path) -> None:
    own = convert(exported.merged, tmp_path / "own.gguf", "q8_0", 1)
    assert tensors(exported.gguf.path) == tensors(own.path)
    assert metadata(exported.gguf.path) == metadata(own.path)


@pytest.mark.parametrize(
    ("start", "of_base"),
    [
        (
            "org/small-1B",
            {
                "name": "Small 1B",
                "organization": "Org",
                "repo_url": "https://huggingface.co/org/small-1B",
            },
        ),
        ("package:llm_x/Small.Q4_1.gguf", {"name": "Small.Q4_1"}),
    ],
)
def test_a_gguf_says_what_it_is_of(
    tiny: Base, tmp_path: Path, start: str, of_base: dict[str, str]
) -> None:
    known = [find(name, {}) for name in ("Apache-2.0", "Gemma")]
    both = demands(*(Licence(*one) for one in known if one))
    made = convert(
        *(tiny.folder, tmp_path / "f16.gguf", "f16", 1), Front("study-tuned", both, start, "de")
    )
    quantize(made.path, tmp_path / "q8.gguf", "q8_0", 1)
    for file in (made.path, tmp_path / "q8.gguf"):
        said = metadata(file)
        assert said["general.name"] == "study-tuned"
        assert said["general.license"] == "other"
        assert said["general.license.name"] == "apache-2.0-and-gemma"
        assert said["general.license.link"] == "LICENSE.md"
        assert said["general.languages"] == ["de"]
        assert {"cbt-ray", "not-for-clinical-use", "text-generation"} <= set(said["general.tags"])
        assert said["general.base_model.count"] == 1
        begin = "general.base_model.0."
        assert of_base == {
            name.removeprefix(begin): value
            for name, value in said.items()
            if name.startswith(begin)
        }
    assert not (tiny.folder / "README.md").exists()


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        ("q6_k", {"Q6_K"}),
        ("q5_k_m", {"Q5_K", "Q6_K"}),
        ("q4_k_m", {"Q4_K", "Q6_K"}),
        ("q4_0", {"Q4_0", "Q6_K"}),
    ],
)
def test_smaller_quantizations_load_and_keep_template_and_tokens(
    exported: Exported, wide: Base, tmp_path: Path, quantization: str, expected: set[str]
) -> None:
    made = tmp_path / "model.gguf"
    quantize(exported.f16.path, made, quantization, 1)
    assert types(made) == expected
    assert made.stat().st_size < exported.gguf.path.stat().st_size
    verdict = gate(wide, None, exported.merged, exported.f16.path, made, [], 1, tuned=False)
    assert verdict.failed == ()
    assert {"loads", "template", "special", "tokens"} <= {
        check.name for check in verdict.checks if check.passed
    }


def test_rows_that_k_quants_do_not_fit_get_another_type(tiny: Base, tmp_path: Path) -> None:
    recipe = Recipe(start=".", compare=".", licence="none", quantization="q4_k_m")
    assert not types(export(tiny, None, recipe, tmp_path, 1).gguf.path) & {"Q4_K", "Q6_K"}


@pytest.mark.parametrize("harm", ["cut", "other"])
def test_what_is_no_whole_gguf_is_refused_and_leaves_nothing(
    exported: Exported, tmp_path: Path, harm: str
) -> None:
    source = tmp_path / "source.gguf"
    data = exported.f16.path.read_bytes()
    source.write_bytes(data[: len(data) // 2] if harm == "cut" else b"no GGUF at all")
    with pytest.raises(
        InputError,
        match=r"source\.gguf: expected an F16 GGUF that llama\.cpp turns into q8_0, and room in "
        r"\S+ \(.+\)",
    ) as caught:
        quantize(source, tmp_path / "target.gguf", "q8_0", 1)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["source.gguf"]


def test_an_unknown_quantization_is_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="q2_k"):
        quantize(exported.f16.path, tmp_path / "target.gguf", "q2_k", 1)
