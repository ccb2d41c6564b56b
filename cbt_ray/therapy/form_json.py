"""A reply of a form that is written as JSON: its schema, how it is read, what the patient reads of
it; pure. Nothing is repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cbt_ray.reading import loads
from cbt_ray.study.endpoint import Role
from cbt_ray.study.form import Form, FormField, FormPart
from cbt_ray.therapy.language import Language
from cbt_ray.therapy.reply_schema import bounded, record

_SENTENCE = re.compile(r"[^.!?\u3002\uff01\uff1f\n]+[.!?\u3002\uff01\uff1f]*[\"')]*")
_QUOTES = re.compile(r"[\"'\u2018\u2019\u201c\u201d\u00ab\u00bb\u201e]")
_LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff]"
"""Of a word; scripts without blanks between words have none."""
_ENDS = ".,;:!?\u2026 "


def schema_of(form: Form, role: Role, language: Language, said: str) -> dict[str, Any]:
    """The JSON schema of a reply to what the patient said.

    A role with `prose: letters` quotes whole sentences of it, since it could not copy one.
    """
    return record({part.name: _part_schema(part, role, language, said) for part in form.parts})


def _part_schema(part: FormPart, role: Role, language: Language, said: str) -> dict[str, Any]:
    if part.entries is None:
        return bounded(part.chars, role, language)
    entry = record({field.name: _value(field, role, language, said) for field in part.fields})
    fewest, most = part.entries
    return {"type": "array", "items": entry, "minItems": fewest, "maxItems": most}


def _value(field: FormField, role: Role, language: Language, said: str) -> dict[str, Any]:
    if field.one_of:
        return {"type": "string", "enum": list(field.one_of)}
    sentences = list(dict.fromkeys(one.strip() for one in _SENTENCE.findall(said) if one.strip()))
    if field.quoted and role.prose == "letters" and sentences:
        return {"type": "string", "enum": sentences}
    return bounded(field.chars, role, language)


def read_object(form: Form, text: str) -> dict[str, Any] | str:
    """A reply's JSON object, or how it misses the form, in one word.

    `no_json`, `around` (words before or after the object), `no_object`, `no_PART`, `empty_PART`,
    `no_text_PART`, `length_PART`, `no_list_PART`, `too_few_PART`, `too_many_PART`, `unknown` (a
    field that the form lacks); of a list's fields the same with the field's name, and
    `unknown_FIELD` for a value that is none of `one_of`.
    """
    try:
        value = loads(text)
    except (ValueError, RecursionError):
        return "around" if object_in(text) is not None else "no_json"
    if not isinstance(value, dict):
        return "no_object"
    return next(_faults(form, value), None) or value


def object_in(text: str) -> dict[str, Any] | None:
    """The JSON object that a text holds, whatever is around it; None where there is none."""
    try:
        found = loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _faults(form: Form, value: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with an object: what is gravest first."""
    yield from (f"no_{part.name}" for part in form.parts if part.name not in value)
    for part in form.parts:
        if part.entries is None:
            yield from _of_text(value[part.name], part.name, part.chars)
        else:
            yield from _of_list(value[part.name], part, part.entries)
    if len(value) > len(form.parts):
        yield "unknown"


def _of_text(text: Any, name: str, chars: tuple[int, int]) -> Iterator[str]:
    if not isinstance(text, str):
        yield f"no_text_{name}"
    elif not text.strip():
        yield f"empty_{name}"
    elif not chars[0] <= len(text) <= chars[1]:
        yield f"length_{name}"


def _of_list(found: Any, part: FormPart, entries: tuple[int, int]) -> Iterator[str]:
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        yield f"no_list_{part.name}"
    elif len(found) < entries[0]:
        yield f"too_few_{part.name}"
    elif len(found) > entries[1]:
        yield f"too_many_{part.name}"
    else:
        for entry in found:
            yield from _of_entry(entry, part)


def _of_entry(entry: Mapping[str, Any], part: FormPart) -> Iterator[str]:
    yield from (f"no_{field.name}" for field in part.fields if field.name not in entry)
    for field in part.fields:
        value = entry[field.name]
        if not field.one_of:
            yield from _of_text(value, field.name, field.chars)
        elif value not in [*field.one_of]:
            yield f"unknown_{field.name}"
    if len(entry) > len(part.fields):
        yield "unknown"


def shown(part: FormPart, value: Any) -> str:
    """A part as the patient reads it: a text, or the entries of a list, each a paragraph with a
    line a field.
    """
    if part.entries is None:
        return str(value).strip()
    return "\n\n".join(
        "\n".join(
            f"{field.label} {entry[field.name]}" if field.label else str(entry[field.name])
            for field in part.fields
        )
        for entry in value
    )


def entries_of(written: str | None, path: str) -> list[str]:
    """The values of a list's field, `part.field`, in a reply as it was written; none where no reply
    kept its form.
    """
    part, _, field = path.partition(".")
    try:
        known = loads(written or "{}")
    except (ValueError, RecursionError):
        return []  # imported, and no reply in this form
    found = known.get(part) if isinstance(known, dict) else None
    entries = found if isinstance(found, list) else []
    return [str(entry[field]) for entry in entries if isinstance(entry, dict) and field in entry]


def is_quoted(quotation: str, said: str) -> bool:
    """Whether words are a quotation of what was said: whole words, letter for letter but for
    case, blanks, quotation marks and the marks at both ends.
    """
    sought = _plain(quotation).strip(_ENDS)
    whole = rf"(?<!{_LETTER}){re.escape(sought)}(?!{_LETTER})"
    return bool(sought) and re.search(whole, _plain(said)) is not None


def misquoted(form: Form, written: str, said: str) -> str | None:
    """How a reply that keeps its form misquotes the patient: `not_quoted_FIELD`; None where it does
    not.
    """
    fields = [(part.name, field) for part in form.parts for field in part.fields if field.quoted]
    for part, field in fields:
        quotations = entries_of(written, f"{part}.{field.name}")
        if not all(is_quoted(one, said) for one in quotations):
            return f"not_quoted_{field.name}"
    return None


def _plain(text: str) -> str:
    return " ".join(_QUOTES.sub("", text).casefold().split())
