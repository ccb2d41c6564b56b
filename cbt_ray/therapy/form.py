"""The form of a reply: read as it is, and never repaired; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from cbt_ray.study.form import AS_WRITTEN, Form, FormPart
from cbt_ray.therapy.form_json import object_in, read_object, shown

UNLABELLED = "unlabelled"
"""What stands before the first label, where others follow."""
Hidden = tuple[tuple[str, str], ...]
"""Parts that are kept and not said: name and text."""


@dataclass(frozen=True)
class Formed:
    """A reply by its parts."""

    said: str
    """The shown parts, with a blank line between them; empty where none was written."""
    hidden: Hidden = ()
    missed: str | None = None
    """How it misses the form, in one word; None where it keeps it.

    `no_form` (no label at all: the whole reply is said), `no_PART`, `repeated` (a label twice),
    `order`, `empty_PART`, `before` (words before the first label). Of JSON see `read_object`; a
    reply that misses it is said whole.
    """


def read_form(form: Form, text: str) -> Formed:
    """Part a reply by its form.

    Whatever stands under the label of a hidden part is hidden, wherever it is, and so is what
    stands before the first label.
    """
    if not form.parts:
        return Formed(text.strip())
    return _of_json(form, text) if form.written == "json" else _of_labels(form, text)


def _of_json(form: Form, text: str) -> Formed:
    value = read_object(form, text)
    if isinstance(value, str):
        return _missing(form, text, value)
    said = [shown(part, value[part.name]) for part in form.parts if part.shown]
    hidden = [(part.name, shown(part, value[part.name])) for part in form.parts if not part.shown]
    written = (AS_WRITTEN, text.strip())
    return Formed("\n\n".join(filter(None, said)), (*hidden, written))


def _missing(form: Form, text: str, missed: str) -> Formed:
    """A reply that misses its form is said whole, unless it may hold a hidden part: then only the
    shown texts of its object are, and nothing where there is none.
    """
    if all(part.shown for part in form.parts):
        return Formed(text.strip(), missed=missed)
    found = object_in(text) or {}
    texts = [found.get(part.name) for part in form.parts if part.shown]
    said = "\n\n".join(one.strip() for one in texts if isinstance(one, str))
    return Formed(said, ((UNLABELLED, text.strip()),), missed)


def _of_labels(form: Form, text: str) -> Formed:
    found = list(_pieces(form, text))
    if len(found) == 1:
        return Formed(text.strip(), missed="no_form")
    shown = {part.name for part in form.parts if part.shown}
    said = [piece for name, piece in found if name in shown and piece]
    hidden = tuple((name, piece) for name, piece in found if name not in shown and piece)
    return Formed("\n\n".join(said), hidden, _missed(form, found))


def written(form: Form, said: str, hidden: Hidden) -> str | None:
    """A turn as a model writes it that keeps the form; None where the turn lacks a part."""
    if form.written == "json":
        return dict(hidden).get(AS_WRITTEN)
    parts = dict(hidden) | {part.name: said for part in form.parts if part.shown}
    if not all(part.name in parts for part in form.parts):
        return None
    if not form.parts:
        return said
    return "\n".join(f"{part.label}\n{parts[part.name]}" for part in form.parts)


def _pieces(form: Form, text: str) -> list[tuple[str, str]]:
    """What is before the first label, then each label's part and what follows the label."""
    names = {_label(part).casefold(): part.name for part in form.parts}
    before, *rest = _labels(tuple(map(_label, form.parts))).split(text)
    pieces = [(UNLABELLED, before.strip())]
    for label, said in zip(rest[::2], rest[1::2], strict=True):
        pieces.append((names[label.casefold()], said.strip()))
    return pieces


def _label(part: FormPart) -> str:
    if part.label is None:
        raise ValueError(f"{part.name} has no label")
    return part.label


@cache
def _labels(labels: tuple[str, ...]) -> re.Pattern[str]:
    """A label at the start of a line; the longest where one begins with another."""
    ordered = sorted(labels, key=len, reverse=True)
    return re.compile(rf"(?im)^[ \t]*({'|'.join(map(re.escape, ordered))})")


def _missed(form: Form, found: Sequence[tuple[str, str]]) -> str | None:
    """The first reason, from what is gravest."""
    wanted = [part.name for part in form.parts]
    names = [name for name, _ in found[1:]]
    lacking = next((name for name in wanted if name not in names), None)
    if lacking is not None:
        return f"no_{lacking}"
    if len(names) > len(wanted):
        return "repeated"
    if names != wanted:
        return "order"
    empty = next((name for name, piece in found[1:] if not piece), None)
    if empty is not None:
        return f"empty_{empty}"
    return "before" if found[0][1] else None
