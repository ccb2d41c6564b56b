"""What Ollama is given: parameters, licence, and the chat template as a Go template, or a word that
there is none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.llamacpp import adds_bos
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.training.export.gguf import convert_vocabulary
from cbt_ray.training.export.modelfile import go_template, modelfile
from cbt_ray.training.start.base import Base

pytestmark = pytest.mark.slow  # it imports transformers

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are Q.<|im_end|>\\n' }}{% "
    "endif %}" + CHATML
)
LLAMA = (
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: 26 Jul "
    "2024\\n\\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set messages = "
    "messages[1:] %}{% endif %}"
    "{{ '<|eot_id|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + "
    "'<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% "
    "endif %}"
)
MISTRAL_FIRST = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content + '\\n\\n' %}"
    "{% set messages = messages[1:] %}{% endif %}{{ bos_token }}{% for m in messages %}{% if "
    "m.role == 'user' %}"
    "{{ '[INST] ' + (system if loop.first and system else '') + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL_LAST = MISTRAL_FIRST.replace("loop.first", "loop.last")
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') "
    "}}{% endif %}{{ m.content }}{% endfor %}"
)
COUNTED = (
    "{% for m in messages %}{{ '<' + m.role + loop.index0 | string + '>' + m.content + "
    "'</s>' }}{% endfor %}{{ '<assistant>' }}"
)
ONCE = (
    "{{ '{{ x }}' }}{% for m in messages %}{{ '<' + m.role + '>' + m.content + '</s>' }}{% endfor "
    "%}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (
            CHATML,
            [
                "{{ if $.System }}<|im_start|>system\n{{ $.System }}<|im_end|>\n{{ else }}{{ end "
                "}}",
                '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content '
                "}}<|im_end|>\n<|im_start|>assistant\n",
                '{{ else if eq .Role "assistant" }}{{ .Content }}<|im_end|>\n{{ end }}{{ end }}',
            ],
        ),
        (QWEN, ["{{ else }}<|im_start|>system\nYou are Q.<|im_end|>\n{{ end }}"]),
        (
            LLAMA,
            [
                "<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n{{ "
                "$.System }}<|eot_id|>{{ else }}",
                "<|start_header_id|>user<|end_header_id|>\n\n{{ .Content }}<|eot_id|>",
                "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{{ else if",
            ],
        ),
        (
            MISTRAL_FIRST,
            [
                "[INST] {{ if and $first $.System }}{{ $.System }}\n\n{{ end }}",
                "{{ .Content }}[/INST]",
                "}} {{ .Content }}</s>",
            ],
        ),
        (
            MISTRAL_LAST,
            [
                "[INST] {{ if and $.System (eq (len (slice $.Messages $number)) 1) }}{{ $.System "
                "}}\n\n{{ end }}",
                "{{ .Content }}[/INST]",
            ],
        ),
        (
            NO_SYSTEM.replace("{{ m.content", "{{ '[' + m.role + ']' + m.content"),
            [
                "[user]{{ if and $first $.System }}{{ $.System }}\n\n{{ end }}{{ $first = false "
                "}}{{ .Content }}",
                "[assistant]{{ .Content }}",
            ],
        ),
        (NO_SYSTEM, ["{{ if $.System }}{{ $.System }}\n\n{{ else }}", '"user" }}{{ .Content }}']),
    ],
    ids=["chatml", "qwen", "llama", "mistral-first", "mistral-last", "no-system", "no-marks"],
)
def test_go_template_is_read_off_the_jinja_template(source: str, parts: list[str]) -> None:
    found = go_template(ChatTemplate(source, "<s>", "</s>"))
    assert found is not None
    for part in parts:
        assert part in found
    assert "<s>" not in found


@pytest.mark.parametrize(
    "source", [COUNTED, ONCE, "{{ messages | length }}"], ids=["counted", "braces", "none"]
)
def test_template_that_is_of_no_known_form_is_not_guessed(source: str, tiny: Base) -> None:
    template = ChatTemplate(source, "<s>", "</s>")
    assert go_template(template) is None
    written = modelfile("m.gguf", template, {}, "none")
    assert "\n# TEMPLATE must be given by hand" in written
    assert "\nTEMPLATE" not in written


def test_modelfile_of_the_embedded_models_template(tiny: Base) -> None:
    sampling = {
        "temperature": 0.7,
        "top_p": 0.95,
        "min_p": 0.0,
        "repeat_penalty": 1.1,
        "max_tokens": 512,
        "context": 8192,
    }
    written = modelfile("smollm2-tuned.gguf", tiny.template, sampling, "Apache-2.0")
    head, _, rest = written.partition('TEMPLATE """')
    template, _, tail = rest.partition('"""\n')
    assert head == "FROM ./smollm2-tuned.gguf\n"
    assert template == go_template(tiny.template)
    assert tail.splitlines() == [
        'PARAMETER stop "<|im_end|>"',
        "PARAMETER temperature 0.7",
        "PARAMETER top_p 0.95",
        "PARAMETER min_p 0.0",
        "PARAMETER repeat_penalty 1.1",
        "PARAMETER num_predict 512",
        "PARAMETER num_ctx 8192",
        'LICENSE """Apache-2.0"""',
    ]
    assert "SYSTEM" not in head + tail


_SETTINGS = {
    **dict.fromkeys(("num_ctx", "num_predict", "seed", "top_k"), int),
    **dict.fromkeys(("temperature", "top_p", "min_p", "repeat_penalty"), float),
    "stop": str,
}
"""The types of Ollama's options (`api/types.go`)."""


def parsed(text: str) -> list[tuple[str, str]]:
    """Commands with what they say, by the grammar of Ollama's `parser/parser.go`: a comment is a
    line, a value ends with its line, or with the quotes that it began with.
    """
    found: list[tuple[str, str]] = []
    while text := text.lstrip("\n"):
        line, _, rest = text.partition("\n")
        if line.startswith("#"):
            text = rest
            continue
        command, _, value = line.partition(" ")
        assert command in {"FROM", "TEMPLATE", "PARAMETER", "LICENSE"}, line
        name, _, given = value.partition(" ") if command == "PARAMETER" else ("", "", value)
        quotes = next((one for one in ('"""', '"') if given.startswith(one)), "")
        if quotes:
            behind = text[text.index(given) + len(quotes) :]
            given, closed, text = behind.partition(quotes)
            assert closed, f"{command} is not closed"
            assert text.startswith("\n"), f"more behind {command}"
        else:
            text = rest
        if name:
            _SETTINGS[name](given)
        found.append((name or command.lower(), given))
    return found


def test_ollama_reads_what_was_meant(tiny: Base) -> None:
    for template in (tiny.template, ChatTemplate(COUNTED, "<s>", "</s>")):
        written = modelfile(
            *("m.gguf", template, {"temperature": 0.7, "context": 2048}, 'a "free"\none')
        )
        told = dict(parsed(written))
        in_go = go_template(template)
        assert told == {
            **{"from": "./m.gguf", "stop": template.end, "temperature": "0.7", "num_ctx": "2048"},
            "license": "a 'free'\none",
            **({"template": in_go} if in_go else {}),
        }


def test_bos_stays_where_the_tokenizer_adds_none(tiny: Base, tmp_path: Path) -> None:
    """The tiny model's BOS is `<|im_start|>`: without it the first message would have none."""
    vocabulary = convert_vocabulary(tiny.folder, tmp_path / "vocabulary.gguf", 1)
    assert adds_bos(vocabulary) is False
    assert tiny.template.bos == "<|im_start|>"
    with_bos, without = (go_template(tiny.template, adds_bos=adds) for adds in (False, True))
    assert with_bos == f"<|im_start|>{without}"
    assert "{{ if $.System }}system\n{{ $.System }}<|im_end|>\n" in with_bos
    mistral = go_template(ChatTemplate(MISTRAL_FIRST, "<s>", "</s>"), adds_bos=False)
    assert str(mistral).startswith("<s>{{")
    assert go_template(ChatTemplate(CHATML, "<s>", "</s>"), adds_bos=False) == go_template(
        ChatTemplate(CHATML, "<s>", "</s>")
    ), "a template that writes none"
    always = ChatTemplate(CHATML, "<|im_start|>", "<|im_end|>")
    assert "<|im_start|>system" in str(go_template(always, adds_bos=False))
    assert go_template(always) is None, "the first message would have it twice"


def test_what_ollama_does_not_know_or_cannot_quote_is_refused(tiny: Base) -> None:
    with pytest.raises(InputError, match=r"sampling: beams: expected one of temperature"):
        modelfile("m.gguf", tiny.template, {"beams": 4}, "none")
    with pytest.raises(InputError, match="without quotes"):
        modelfile("m.gguf", replace(tiny.template, eos='"'), {}, "none")
    assert modelfile("m.gguf", tiny.template, {}, 'the "free" one').endswith(
        'LICENSE """the \'free\' one"""\n'
    )
