"""The path to a number of an analysis: names, places in a list, and rows by what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

Step = str | dict[str, str]
"""A key, or a place in a list, or in a list the entry whose fields have these values."""
Schema = Mapping[str, JsonValue]
"""A JSON schema, or a part of one."""
ANYTHING: Schema = {}


def walk(document: JsonValue, path: Sequence[Step]) -> JsonValue:
    """The value at a path, None where there is none."""
    for step in path:
        document = _entry(document, step)
    return document


def _entry(document: JsonValue, step: Step) -> JsonValue:
    match document, step:
        case list(), str():
            return document[int(step)] if step.isdigit() and int(step) < len(document) else None
        case list(), dict():
            return next((row for row in document if _holds(row, step)), None)
        case dict(), str():
            return document.get(step)
    return None


def _holds(row: JsonValue, values: Mapping[str, str]) -> bool:
    return isinstance(row, dict) and all(row.get(name) == said for name, said in values.items())


def number(value: JsonValue) -> float | None:
    """A value where it is a number."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def written(path: Sequence[Step]) -> str:
    """A path in a word: `models.published.terms.Intercept.p`."""
    return ".".join(step if isinstance(step, str) else next(iter(step.values())) for step in path)


def refused(path: Sequence[Step], schema: Schema) -> str | None:
    """Why no document of a schema has a number at a path; None where one may have it."""
    nodes = list(_choices(schema, schema))
    for step in path:
        nodes = [
            choice
            for node in nodes
            for inner in _inside(schema, node, step)
            for choice in _choices(schema, inner)
        ]
        if not nodes:
            said = step if isinstance(step, str) else " and ".join(step)
            return f"{written(path)}: expected a path of the analysis, it has no {said} there"
    if not any(_unsaid(node) or node.get("type") in ("number", "integer") for node in nodes):
        return f"{written(path)}: expected the path of a number"
    return None


def _unsaid(node: Schema) -> bool:
    """Whether anything may stand there."""
    return not {"type", "const", "enum"} & set(node)


def _choices(schema: Schema, node: JsonValue | Schema) -> Iterator[Schema]:
    """What a node may be, with its references followed."""
    if not isinstance(node, Mapping):
        return
    reference, choices = node.get("$ref"), node.get("anyOf", node.get("oneOf"))
    if isinstance(reference, str):
        yield from _choices(schema, walk(dict(schema), reference.split("/")[1:]))
    elif isinstance(choices, list):
        for choice in choices:
            yield from _choices(schema, choice)
    else:
        yield node


def _inside(schema: Schema, node: Schema, step: Step) -> Iterator[JsonValue | Schema]:
    """What may stand one step further."""
    if _unsaid(node):
        yield ANYTHING
        return
    fields, others = node.get("properties"), node.get("additionalProperties")
    if isinstance(step, str) and isinstance(fields, dict) and step in fields:
        yield fields[step]
    elif isinstance(step, str) and others:
        yield ANYTHING if others is True else others
    elif node.get("type") == "array" and _finds(schema, node.get("items", {}), step):
        yield node.get("items", {})


def _finds(schema: Schema, row: JsonValue, step: Step) -> bool:
    """Whether rows can be told by a step: by their place, or by fields that they have."""
    if isinstance(step, str):
        return step.isdigit()
    return any(
        all(any(_inside(schema, choice, name)) for name in step) for choice in _choices(schema, row)
    )
