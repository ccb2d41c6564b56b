"""What comes with a dataset for other trainers.

CBT_RAY_AXOLOTL and CBT_RAY_LLAMA_FACTORY name the Python of an environment that has one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.study.recipe import Recipe
from cbt_ray.training.dataset import Splits, write
from cbt_ray.training.elsewhere import Elsewhere, dataset_info
from cbt_ray.training.mask import IGNORED, mask
from cbt_ray.training.start.base import Base
from tests.needs import needs
from tests.training import loaders

SPLITS = ("train", "held_out")
RECIPE = Recipe(start="org/model", compare="org/model", licence="MIT", revision="abc")


def read(elsewhere: Elsewhere) -> dict[str, dict[str, Any]]:
    return {
        name.partition("/")[2]: yaml.safe_load(data)
        for name, data in elsewhere.files().items()
        if name.endswith(".yaml")
    }


def test_both_trainers_are_told_the_recipe() -> None:
    recipe = RECIPE.model_copy(update={"learning_rate": 3e-5, "batch": 2, "accumulation": 7})
    made = read(Elsewhere("own", recipe, SPLITS))
    one, other = made["axolotl.yaml"], made["llamafactory.yaml"]
    assert one["base_model"] == other["model_name_or_path"] == "org/model"
    assert one["revision_of_model"] == other["model_revision"] == "abc"
    assert one["learning_rate"] == other["learning_rate"] == 3e-5
    assert (one["micro_batch_size"], one["gradient_accumulation_steps"]) == (2, 7)
    assert (other["per_device_train_batch_size"], other["gradient_accumulation_steps"]) == (2, 7)
    assert (one["lora_r"], one["lora_alpha"]) == (other["lora_rank"], other["lora_alpha"])
    assert one["lora_target_modules"] == other["lora_target"].split(",")
    assert one["sequence_len"] == other["cutoff_len"] == recipe.max_length
    assert (one["adapter"], other["quantization_bit"]) == ("qlora", 4)
    assert one["warmup_ratio"] == other["warmup_steps"] == 0.06
    assert "max_steps" not in one.keys() | other.keys()


def test_what_a_recipe_lacks_is_not_written() -> None:
    changes = {"load_4bit": False, "warmup_steps": 3, "max_steps": 9, "start": "package:x/y.gguf"}
    elsewhere = Elsewhere("own", RECIPE.model_copy(update=changes), ("train",))
    one, other = read(elsewhere).values()
    assert one["adapter"] == "lora"
    assert not {"quantization_bit", "eval_dataset"} & set(other)
    assert (one["warmup_steps"], one["max_steps"], other["max_steps"]) == (3, 9, 9)
    assert (one["val_set_size"], "test_datasets" in one) == (0, False)
    assert one["base_model"] == other["model_name_or_path"] == "own/base"
    assert b"# Put the base model there: own/base\n" in elsewhere.files()["own/axolotl.yaml"]


@pytest.mark.train
@pytest.mark.parametrize("trainer", ["axolotl", "llama_factory"])
def test_another_trainer_loads_it_and_learns_the_same(
    tiny: Base, splits: Splits, tmp_path: Path, trainer: str
) -> None:
    """By its schema, its loader and its mask; LLaMA-Factory learns the line break after a turn's
    end, too.
    """
    python = os.environ.get(f"CBT_RAY_{trainer.upper()}")
    needs(trainer, python is not None)
    folder = write(splits, tmp_path)
    (folder / "dataset_info.json").write_bytes(dataset_info(SPLITS))
    for name, data in Elsewhere("own", RECIPE, SPLITS, tiny.template).files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    file = f"own/{trainer.replace('_', '')}.yaml"
    here = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "DISABLE_VERSION_CHECK": "1"}
    done = subprocess.run(
        [str(python), str(Path(loaders.__file__)), trainer, file, str(tiny.folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**{n: v for n, v in os.environ.items() if n != "PYTHONPATH"}, **here},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    windows = mask(splits.train, tiny.template, tiny.tokenizer, 100_000).windows
    assert len(found) == len(windows)
    space = tiny.tokenizer.encode("\n")[0]
    for (ids, labels), window in zip(found, windows, strict=True):
        length = len(window.input_ids)
        assert ids[:length] == window.input_ids
        assert set(labels[length:]) <= {IGNORED, *space}
        for at, (theirs, own) in enumerate(zip(labels, window.labels, strict=False)):
            behind = trainer == "llama_factory" and window.labels[at - 1] == tiny.turn_end_id
            assert theirs == (ids[at] if behind else own), (at, ids[at])
