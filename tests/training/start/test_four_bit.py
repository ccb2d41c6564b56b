"""A checkpoint that bitsandbytes stored in 4 bit, by transformers itself: the same model, which can
be merged into.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend.trl_backend import keep_gradients, load_model
from cbt_ray.training.export.merge import merge
from cbt_ray.training.start.base import Base, open_base
from tests.training.backend.runs import Train

pytestmark = pytest.mark.train
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.fixture(scope="module", params=["50GB", "300KB"])
def stored(
    request: pytest.FixtureRequest, tiny: Base, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny model in NF4 with double quantization, in one file and in several."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        tiny.folder, quantization_config=config, dtype=torch.float32
    )
    folder = tmp_path_factory.mktemp("stored") / "model"
    model.save_pretrained(folder, max_shard_size=request.param)
    for name in FILES:
        shutil.copyfile(tiny.folder / name, folder / name)
    return folder


def logits(model: Any) -> Any:
    import torch

    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(5, 45)[None]).logits


def test_it_is_the_same_model(stored: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    first = AutoModelForCausalLM.from_pretrained(stored, dtype=torch.float32)
    keep_gradients(first)  # or it multiplies in bf16
    base = open_base(str(stored), tmp_path)
    assert base.folder != stored
    assert "quantization_config" not in json.loads((base.folder / "config.json").read_text())
    assert len(list(stored.glob("*.safetensors"))) == len(list(base.folder.glob("*.safetensors")))
    wide = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    assert torch.allclose(
        logits(first), logits(wide), atol=5e-3 * float(logits(first).std())
    )  # f16 rounds by 5e-4
    again = open_base(str(stored), tmp_path)
    assert (again.folder, again.digest) == (base.folder, base.digest)


def test_training_makes_the_same_codes_of_it(stored: Path, recipe: Recipe, tmp_path: Path) -> None:
    import torch

    own = recipe.model_copy(update={"load_4bit": True})
    there = dict(load_model(stored, own).named_parameters())
    here = dict(load_model(open_base(str(stored), tmp_path).folder, own).named_parameters())
    packed = [name for name, weight in there.items() if weight.dtype == torch.uint8]
    assert len(packed) == 14
    same = [(there[name] == here[name]).float().mean() for name in packed]
    assert min(same) > 0.99


def test_an_adapter_merges_into_it(stored: Path, train: Train, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = open_base(str(stored), tmp_path)
    trained = train("four", job={"base": base})
    merged = logits(
        AutoModelForCausalLM.from_pretrained(
            merge(base, trained.adapter, tmp_path / "merged"), dtype=torch.float32
        )
    )
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    learnt = (merged - logits(plain)).abs().max()
    assert (
        merged - logits(PeftModel.from_pretrained(plain, trained.adapter))
    ).abs().max() < 0.01 * learnt


OTHER = [
    ({"quant_method": "gptq", "bits": 4}, "gptq"),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "8 bit by bits"),
]


@pytest.mark.parametrize(("how", "said"), OTHER)
def test_any_other_way_is_refused_before_the_first_step(
    how: dict[str, Any], said: str, tiny: Base, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": how}))
    with pytest.raises(
        InputError,
        match=r"config\.json: quantization_config: expected none, or 4 bit by bitsandbytes, not "
        + said,
    ):
        open_base(str(folder), tmp_path / "work")


@pytest.mark.parametrize(
    ("lost", "said"),
    [("quant_state.bitsandbytes__nf4", "how it was quantized"), ("absmax", "in 4 bit by")],
)
def test_codes_without_their_scale_are_refused(
    lost: str, said: str, stored: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(stored, folder)
    for file in folder.glob("*.safetensors"):
        some = load_file(file)
        save_file(
            {
                name: value
                for name, value in some.items()
                if name != f"model.layers.0.mlp.up_proj.weight.{lost}"
            },
            file,
        )
    with pytest.raises(
        InputError, match=r"model\.layers\.0\.mlp\.up_proj\.weight: expected .*" + said
    ):
        open_base(str(folder), tmp_path / "work")
