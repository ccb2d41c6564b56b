"""A GGUF for Ollama: the Modelfile, with the model's chat template as a Go template.

Ollama does not run the Jinja template of a GGUF. It takes a template of its own where it knows one
that differs by fewer than 100 characters, and otherwise sends the prompt bare. So the Go template
is written out here, from the form of the Jinja template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.training.export.chat_form import COMPARED, Form, form_of

_PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "max_tokens": "num_predict",
    "seed": "seed",
    "context": "num_ctx",
}
"""Our words for what Ollama calls a parameter."""
_BY_HAND = (
    "# TEMPLATE must be given by hand: this model's chat template could not be written as "
    "a Go template."
)


def modelfile(
    gguf_name: str,
    template: ChatTemplate,
    sampling: Mapping[str, Any],
    licence: str,
    *,
    adds_bos: bool = True,
) -> str:
    """The Modelfile beside a GGUF. SYSTEM is left to the user.

    `sampling` may hold temperature, top_p, top_k, min_p, repeat_penalty, max_tokens, seed, and
    context: tokens that it sees. `adds_bos`: whether the GGUF's tokenizer puts BOS in front.
    """
    if '"' in template.end:
        raise InputError(f"Modelfile: expected an end token without quotes, not {template.end!r}")
    in_go = go_template(template, adds_bos=adds_bos)
    lines = [
        f"FROM ./{gguf_name}",
        _BY_HAND if in_go is None else f'TEMPLATE """{in_go}"""',
        f'PARAMETER stop "{template.end}"',
        *_parameters(sampling),
        'LICENSE """' + licence.replace('"', "'") + '"""',
    ]
    return "\n".join(lines) + "\n"


def _parameters(sampling: Mapping[str, Any]) -> list[str]:
    unknown = sorted(set(sampling) - set(_PARAMETERS))
    if unknown:
        raise InputError(f"sampling: {unknown[0]}: expected one of {', '.join(_PARAMETERS)}")
    return [
        f"PARAMETER {name} {sampling[key]}"
        for key, name in _PARAMETERS.items()
        if sampling.get(key) is not None
    ]


def go_template(template: ChatTemplate, *, adds_bos: bool = True) -> str | None:
    """The chat template in Go, with BOS where the tokenizer does not add it.

    None where it is of no form that is known here.
    """
    form = form_of(template)
    if form is None:
        return None
    pieces = (form.start, form.default, *form.system, *form.user, *form.assistant)
    if any("{{" in piece or '"""' in piece for piece in pieces):
        return None
    if not adds_bos:
        return form.start + _in_go(form)
    twice = not form.start and template.bos and form.render(COMPARED[0]).startswith(template.bos)
    return None if twice else _in_go(form)


def _in_go(form: Form) -> str:
    """Ollama may name the system message among the messages, too; there it is skipped."""
    system = f"{form.system[0]}{{{{ $.System }}}}{form.system[1]}"
    front = system if form.place == "front" else ""
    inside = {
        "front": "",
        "first": f"{{{{ if and $first $.System }}}}{system}{{{{ end }}}}{{{{ $first = false }}}}",
        "last": f"{{{{ if and $.System (eq (len (slice $.Messages $number)) 1) "
        f"}}}}{system}{{{{ end }}}}",
    }[form.place]
    return (
        f"{{{{ $first := true }}}}{{{{ if $.System }}}}{front}{{{{ else }}}}{form.default}{{{{ "
        f"end }}}}"
        "{{ range $number, $_ := $.Messages }}"
        f'{{{{ if eq .Role "user" }}}}{form.user[0]}{inside}{{{{ .Content }}}}{form.user[1]}'
        f'{{{{ else if eq .Role "assistant" }}}}{form.assistant[0]}{{{{ .Content '
        f"}}}}{form.assistant[1]}{{{{ end }}}}"
        "{{ end }}"
    )
