"""The template that marks what is learned: TRL's own trainer makes the mask of it that training
here has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.llm.template import ChatTemplate
from cbt_ray.training.dataset import Splits, write
from cbt_ray.training.export.learned import learned_template
from cbt_ray.training.mask import IGNORED, mask
from cbt_ray.training.start.base import Base
from tests.training.export.test_modelfile import (
    CHATML,
    COUNTED,
    LLAMA,
    MISTRAL_FIRST,
    MISTRAL_LAST,
    QWEN,
)

pytestmark = pytest.mark.train
END = "<|im_end|>"
OWN = {
    **{"chatml": CHATML, "qwen": QWEN, "mistral": MISTRAL_FIRST},
    "llama": LLAMA.replace("<|eot_id|>", END),
}
"""With an end that the tiny model's tokenizer has."""


def prepared(tiny: Base, source: str, folder: Path, work: Path) -> tuple[Any, Any]:
    """TRL's trainer of a dataset's folder, which it loads itself; and a batch of its collator."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(tiny.folder, local_files_only=True)
    tokenizer.chat_template = source
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny.folder),
        args=SFTConfig(
            output_dir=str(work / "out"),
            assistant_only_loss=True,
            max_length=None,
            use_cpu=True,
            bf16=False,
            report_to="none",
        ),
        train_dataset=load_dataset(
            "json", data_files=str(folder / "train.jsonl"), cache_dir=str(work / "cache")
        )["train"],
        processing_class=tokenizer,
    )
    rows = trainer.train_dataset
    return rows, trainer.data_collator([rows[at] for at in range(len(rows))])


@pytest.mark.parametrize("name", ["own", *OWN])
def test_trl_masks_as_training_here(
    tiny: Base, splits: Splits, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    template = tiny.template
    if name != "own":
        template = ChatTemplate(OWN[name], template.bos, END)
    source = learned_template(template)
    assert source is not None
    rows, batch = prepared(tiny, source, write(splits, tmp_path / "data"), tmp_path)
    assert "may not learn to stop" not in caplog.text
    windows = mask(splits.train, template, tiny.tokenizer, 100_000).windows
    assert len(rows) == len(windows) > 3
    for row, labels, window in zip(rows, batch["labels"].tolist(), windows, strict=True):
        length = len(window.input_ids)
        assert row["input_ids"][:length] == window.input_ids
        assert labels[:length] == window.labels
        assert set(labels[length:]) <= {IGNORED}, "the patient's last words, which are cut here"
        assert sum(label != IGNORED for label in labels) > 10


@pytest.mark.parametrize("source", [COUNTED, MISTRAL_LAST], ids=["counted", "moves-system"])
def test_a_template_that_cannot_be_masked_is_not_guessed(source: str) -> None:
    assert learned_template(ChatTemplate(source, "<s>", "</s>")) is None


def test_a_template_is_text_in_json_and_jinja() -> None:
    """Quotes, backslashes and signs of its own survive."""
    odd = CHATML.replace("'\\n' + m.content", "'\\n«\"\\\\» ' + m.content")
    made = learned_template(ChatTemplate(odd, "<s>", "<|im_end|>"))
    assert made is not None
    assert json.dumps('\n«"\\» ', ensure_ascii=False)[1:-1] in made
