"""The chat template with marks around what is learned, which transformers' own prompts lack: other
trainers take the mask from them (`assistant_only_loss` of TRL).

It is written from the form of the model's template, and only if it renders the same.
"""

from __future__ import annotations

import json
from dataclasses import replace

from cbt_ray.llm.request import Message
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.training.export.chat_form import COMPARED, Form, form_of, rendered


def learned_template(template: ChatTemplate) -> str | None:
    """Jinja with `{% generation %}` around each of the assistant's turns and its end, as training
    here masks them; None where the template is of no form that is known here.
    """
    form = form_of(template)
    if form is None or form.place == "last":
        return None
    for trim in ("", " | trim"):
        source = _in_jinja(form, template.end, trim)
        if _same(template, replace(template, source=source)):
            return source
    return None


def _same(one: ChatTemplate, other: ChatTemplate) -> bool:
    """Whether two templates render alike, also words with space around them."""
    spaced = [[Message(word.role, f" {word.content}\n") for word in talk] for talk in COMPARED]
    told = [[*talk, Message("assistant", "Ztold")] for talk in (*COMPARED, *spaced)]
    asked = [(talk, True) for talk in (*COMPARED, *spaced)]
    return all(
        rendered(one, *talk, answer=answer) == rendered(other, *talk, answer=answer)
        for talk, answer in (*asked, *((talk, False) for talk in told))
    )


def _in_jinja(form: Form, end: str, trim: str) -> str:
    ended = form.user[1].removesuffix(form.opening)
    close, found, behind = form.assistant[1].partition(end)
    system = f"{_text(form.system[0])} + messages[0].content{trim} + {_text(form.system[1])}"
    front, inside = (system, '""') if form.place == "front" else ('""', "system")
    return (
        f"{{{{ {_text(form.start)} }}}}"
        '{% if messages[0].role == "system" %}'
        f"{{% set system = {system} %}}{{% set turns = messages[1:] %}}{{{{ {front} }}}}"
        '{% else %}{% set system = "" %}{% set turns = messages %}'
        f"{{{{ {_text(form.default)} }}}}{{% endif %}}"
        '{% for one in turns %}{% if one.role == "user" %}'
        f"{{{{ {_text(form.user[0])} + ({inside} if loop.first else '') "
        f"+ one.content{trim} + {_text(ended)} }}}}"
        f"{{% else %}}{{{{ {_text(form.opening)} }}}}{{% generation %}}"
        f"{{{{ {_text(form.assistant[0])} + one.content{trim} + {_text(close + found)} }}}}"
        f"{{% endgeneration %}}{{{{ {_text(behind)} }}}}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {_text(form.opening)} }}}}{{% endif %}}"
    )


def _text(words: str) -> str:
    """A text as Jinja writes it."""
    return json.dumps(words, ensure_ascii=False)
