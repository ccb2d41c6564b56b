"""What is wrong with a study file, one line each: the dotted field, what was expected, what was
found.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cbt_ray.errors import InputError
from cbt_ray.study.block import Several

MOST = 100
"""Complaints that are shown of one file."""
_EXPECTED = {
    "missing": "expected a value, none given",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "string_type": "expected text",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping of fields",
    "mapping_type": "expected a mapping of fields",
    "model_type": "expected a mapping of fields",
    "model_attributes_type": "expected a mapping of fields",
    "literal_error": "expected {expected}",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "too_short": "expected at least {min_length} of them, found {actual_length}",
    "too_long": "expected at most {max_length} of them, found {actual_length}",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "expected at most {max_length} characters",
    "union_tag_invalid": "expected one of {expected_tags}, found '{tag}'",
    "union_tag_not_found": "expected a value, none given",
}
_QUIET = {
    "missing",
    "value_error",
    "extra_forbidden",
    "too_short",
    "too_long",
    "union_tag_invalid",
    "union_tag_not_found",
}
"""Complaints whose text says already what was found, or where nothing was."""
_SECRETIVE = re.compile(r"(?i)key|token$|secret|password")
_LONGEST = 60


def refusal(
    error: ValidationError,
    root: type[BaseModel],
    where: str,
    files: Mapping[str, str] | None = None,
) -> InputError:
    """All of a model's complaints as an error that is raised, each after `where`, the file."""
    return InputError(*(f"{where}{line}" for line in complaints(error, root, files or {})))


def complaints(
    error: ValidationError, root: type[BaseModel], files: Mapping[str, str]
) -> list[str]:
    """A model's complaints, one line a field: misspelt fields before what they leave out.

    `files` names for a dotted field the file that its content came from.
    """
    details = sorted(
        error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden"
    )
    faulty = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    # What has a faulty part counts as one too short, too.
    details = [
        detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in faulty
    ]
    found: dict[str, list[str]] = {}
    meant: set[str] = set()
    for detail in details:
        field, kind = _walk(root, detail["loc"])
        if detail["type"] == "missing" and field in meant:
            continue  # it is there, under the misspelt name
        if detail["type"] == "extra_forbidden" and (near := _near(field.rpartition(".")[2], kind)):
            meant.add(f"{field.rpartition('.')[0]}.{near}".removeprefix("."))
        for name, message in _said(detail, field, kind):
            if not _same_place(name, found):  # a value that fits none of several kinds is one fault
                found[name] = [*found.get(name, []), message]
    lines = [
        _line(name, message, files) for name, messages in found.items() for message in messages
    ]
    return (
        [*lines[:MOST], f"and {len(lines) - MOST} more of this kind"]
        if len(lines) > MOST
        else lines
    )


def _same_place(name: str, found: Mapping[str, list[str]]) -> bool:
    return name in found and name != ""


def _said(detail: ErrorDetails, field: str, kind: Any) -> Iterator[tuple[str, str]]:
    """Field and message of each problem of one complaint: a block's own check may have found
    several.
    """
    if detail["type"].startswith("union_tag"):
        field += "." + detail["ctx"]["discriminator"].strip("'()")  # a field, or a function
    cause = detail.get("ctx", {}).get("error")
    for message in (
        cause.problems if isinstance(cause, Several) else [_message(detail, field, kind)]
    ):
        own = re.match(
            r"([a-z_][\w.]*): ", message
        )  # a block's own check begins with the name of its field
        if own and (field or isinstance(cause, Several)):
            yield f"{field}.{own[1]}".removeprefix("."), message[own.end() :]
        else:
            yield field, message


def _line(field: str, message: str, files: Mapping[str, str]) -> str:
    source = next(
        (f" ({file})" for start, file in files.items() if f"{field}.".startswith(f"{start}.")), ""
    )
    return " ".join(f"{field + source + ': ' if field else ''}{message}".split())


def _message(detail: ErrorDetails, field: str, kind: Any) -> str:
    if detail["type"] == "extra_forbidden":
        return _unknown(field.rpartition(".")[2], kind)
    said = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    message = (
        _EXPECTED.get(detail["type"], said).format(**detail.get("ctx", {}))
        if detail["type"] in _EXPECTED
        else said
    )
    return message + ("" if detail["type"] in _QUIET else _found(field, detail["input"]))


def _found(field: str, value: Any) -> str:
    """What was found, where it is short and cannot be a secret."""
    if not isinstance(value, str | int | float | bool) or _SECRETIVE.search(field):
        return ""
    text = repr(value)
    return f", found {text}" if len(text) <= _LONGEST and "@" not in text else ""


def _unknown(name: str, block: Any) -> str:
    near = _near(name, block)
    return (
        f"unknown field, expected {near}"
        if near
        else f"unknown field, expected one of {', '.join(_fields(block))}"
    )


def _near(name: str, block: Any) -> str | None:
    return next(iter(difflib.get_close_matches(name[:_LONGEST], _fields(block), n=1)), None)


def _fields(block: Any) -> list[str]:
    return (
        sorted(block.model_fields)
        if isinstance(block, type) and issubclass(block, BaseModel)
        else []
    )


def _walk(kind: Any, loc: Sequence[int | str]) -> tuple[str, Any]:
    """The dotted name of a place, without the tags that pydantic puts in, and the last block on the
    way to it.
    """
    names: list[str] = []
    block: Any = kind
    for part in loc:
        kind = _plain(kind)
        if _is_union(kind):
            kind = _tagged(kind, part)
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            block = kind
            kind = kind.model_fields[part].annotation if part in kind.model_fields else None
        elif get_args(kind):
            kind = get_args(kind)[-1] if get_origin(kind) is not tuple else get_args(kind)[0]
        if part != "[key]":
            names.append(str(part))
    return ".".join(names), block


def _plain(kind: Any) -> Any:
    """A type without Annotated and `| None`."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if _is_union(kind):
        members = [member for member in get_args(kind) if member is not type(None)]
        return _plain(members[0]) if len(members) == 1 else kind
    return kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _tagged(union: Any, tag: int | str) -> Any:
    """The member of a union that a tag (`kind`, `rule`) chooses."""
    for member in get_args(union):
        for field in getattr(member, "model_fields", {}).values():
            if get_origin(field.annotation) is Literal and get_args(field.annotation) == (tag,):
                return member
    return None
