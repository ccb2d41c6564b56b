"""What training starts from: the embedded GGUF unpacked is the same model to llama.cpp and to
transformers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.store.store import sha256_of
from cbt_ray.training.mask import IGNORED, mask
from cbt_ray.training.start.base import Base, open_base
from tests.training.conftest import EMBEDDED
from tests.training.sessions import CHATML, PAIRS, SYSTEM

TEXTS = (
    "I slept 12.5 hours in 2024, from 3am to 15:30.",
    "It's naïve — “no good”, she'd said… 日本 😀\u200d",
    "  two  spaces\n\n\n\tand a tab \n",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "",
)


@pytest.mark.slow
def test_the_embedded_model_is_unpacked_once(base: Base, work: Path) -> None:
    before = (base.folder / "model.safetensors").stat().st_mtime_ns
    again = open_base(EMBEDDED, work)
    assert again.folder == base.folder
    assert (base.folder / "model.safetensors").stat().st_mtime_ns == before
    assert base.digest == sha256_of(load_gguf_path(EMBEDDED))


@pytest.mark.slow
def test_texts_of_licences_come_with_the_package_or_the_folder(
    base: Base, tiny: Base, tmp_path: Path
) -> None:
    assert [file.name for file in base.licences] == ["LICENSE"]
    assert "Apache License" in base.licences[0].read_text()
    folder = tmp_path / "model"
    shutil.copytree(tiny.folder, folder)
    for name in ("LICENSE.txt", "Notice", "USE_POLICY.md", "licensed_users.json", "README.md"):
        (folder / name).write_text("text")
    for template in (None, CHATML.source):
        found = open_base(str(folder), tmp_path / "work", template)
        assert [file.name for file in found.licences] == ["LICENSE.txt", "Notice", "USE_POLICY.md"]
    assert found.digest == tiny.digest


@pytest.mark.slow
@pytest.mark.llama
def test_special_ids_and_tokens_are_those_of_llama_cpp(base: Base) -> None:
    from llama_cpp import Llama

    model = Llama(str(load_gguf_path(EMBEDDED)), vocab_only=True, verbose=False)
    assert (base.bos_id, base.eos_id) == (model.token_bos(), model.token_eos()) == (1, 2)
    assert base.pad_id == 2
    assert base.template.source == model.metadata["tokenizer.chat_template"]
    for text in TEXTS:
        assert base.tokenizer.encode(text)[0] == model.tokenize(
            text.encode(), add_bos=False, special=True
        )
    model.close()


@pytest.mark.slow
@pytest.mark.train
def test_transformers_has_the_same_tokenizer(base: Base) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.chat_template == base.template.source
    for text in TEXTS:
        assert tokenizer(text, add_special_tokens=False).input_ids == base.tokenizer.encode(text)[0]


@pytest.mark.slow
@pytest.mark.train
@pytest.mark.llama
def test_weights_give_the_logits_of_llama_cpp(base: Base) -> None:
    """A wrong order of rotary dimensions or a lost tensor would show here."""
    import torch
    from llama_cpp import Llama
    from transformers import AutoModelForCausalLM

    ids = base.tokenizer.encode(
        "<|im_start|>user\nThe capital of France is which city, and why?<|im_end|>\n"
    )[0]
    llama = Llama(
        str(load_gguf_path(EMBEDDED)), n_ctx=64, n_threads=1, logits_all=True, verbose=False
    )
    llama.eval(ids)
    theirs = torch.tensor(llama.scores[: len(ids)]).log_softmax(-1)
    llama.close()
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    with torch.no_grad():
        ours = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    divergence = (ours.exp() * (ours - theirs)).sum(-1)
    assert (
        divergence.max() < 0.05
    )  # llama.cpp rounds activations to 8 bits before it multiplies them with Q4_1
    assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() > 0.8


@pytest.mark.slow
def test_masks_of_the_real_tokenizer(base: Base) -> None:
    """Here piece by piece, tokenized apart; there the whole text at once, with offsets."""
    answer = "How does 4.5 fit with “I always fail”? 😀"
    turns = [
        ("user", "\nIt's 3 am — again…"),
        ("assistant", answer),
        ("user", PAIRS[0][0]),
        ("assistant", PAIRS[0][1]),
    ]
    messages = [{"role": role, "content": text} for role, text in [("system", SYSTEM), *turns]]
    ids: list[int] = []
    labels: list[int] = []
    for message in messages:
        head, body, tail = (
            f"<|im_start|>{message['role']}\n",
            f"{message['content']}<|im_end|>",
            "\n",
        )
        pieces = (
            [(head, False), (body, True), (tail, False)]
            if message["role"] == "assistant"
            else [(head + body + tail, False)]
        )
        for piece, supervised in pieces:
            tokens = base.tokenizer.encode(piece)[0]
            ids += tokens
            labels += tokens if supervised else [IGNORED] * len(tokens)
    (window,) = mask(
        [{"patient": "p", "session": 1, "messages": messages}], base.template, base.tokenizer, 1000
    ).windows
    assert (window.input_ids, window.labels) == (ids, labels)
    assert labels.count(base.eos_id) == 2


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("package:no_such_package/x.gguf", "expected package:NAME/FILE"),
        (
            "somebody/some-model",
            "expected package:NAME/FILE.gguf, a GGUF file or a Hugging Face folder",
        ),
        ("nowhere.gguf", "expected a file, there is none"),
    ],
)
def test_what_is_no_model_is_refused(start: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        open_base(start, tmp_path)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"arch": "gpt2"},
            "general.architecture: expected 'llama', not 'gpt2'; give the model's Hugging Face "
            "folder",
        ),
        ({"pre": "qwen2"}, "tokenizer.ggml.pre: expected 'smollm', not 'qwen2'"),
        ({"eos": None}, "tokenizer.ggml.eos_token_id: expected a value"),
        ({"template": None}, "tokenizer.chat_template: expected a value"),
    ],
)
def test_a_gguf_that_cannot_be_unpacked_is_refused(
    fields: dict[str, str | None], reason: str, tmp_path: Path
) -> None:
    from gguf import GGUFWriter

    own = {"arch": "llama", "pre": "smollm", "eos": "2", "template": CHATML.source, **fields}
    file = tmp_path / "model.gguf"
    writer = GGUFWriter(file, str(own["arch"]))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(str(own["pre"]))
    if own["eos"]:
        writer.add_eos_token_id(int(own["eos"]))
    if own["template"]:
        writer.add_chat_template(own["template"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(InputError, match=reason):
        open_base(str(file), tmp_path)
    assert not list((tmp_path / "base").glob("[!.]*"))


def test_a_torn_gguf_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "torn.gguf"
    file.write_bytes(load_gguf_path(EMBEDDED).read_bytes()[:300_000])
    with pytest.raises(InputError, match="expected a GGUF file, but it is torn"):
        open_base(str(file), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("template", "expected a chat template"),
        ("eos", "eos_token: expected a token of the vocabulary"),
        ("config", "tokenizer_config.json: expected a file"),
    ],
)
def test_a_folder_without_an_end_or_a_template_is_refused(
    base: Base, tmp_path: Path, harm: str, reason: str
) -> None:
    shutil.copyfile(base.folder / "tokenizer.json", tmp_path / "tokenizer.json")
    config = json.loads((base.folder / "tokenizer_config.json").read_text())
    if harm == "eos":
        config["eos_token"] = "<|no_such_token|>"
    (tmp_path / "config.json").write_text("{}")
    if harm != "config":
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if harm != "template":
        (tmp_path / "chat_template.jinja").write_text(base.template.source)
    with pytest.raises(InputError, match=reason):
        open_base(str(tmp_path), tmp_path)
