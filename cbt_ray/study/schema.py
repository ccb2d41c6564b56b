"""The study file as a JSON schema: what an editor completes, explains and marks as wrong."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel

from cbt_ray.study.block import Block
from cbt_ray.study.load import REFERENCES
from cbt_ray.study.study import Study

TOLD = ("title", "description")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE = {"type": "string", "description": "A YAML or JSON file, relative to the study file."}


def study_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) that `Study` follows, with each field's meaning.

    What blocks demand of each other is not in it: `cbt-ray check` says that.
    """
    schema: dict[str, Any] = {"$schema": DIALECT, **Study.model_json_schema()}
    for block in _blocks():
        own = schema if block is Study else schema["$defs"].get(block.__name__)
        if own is not None:
            for name, meaning in meanings(block).items():
                if name in own.get("properties", {}):
                    own["properties"][name]["description"] = meaning
    for where in REFERENCES:
        fields, name = _field(schema, where)
        own = fields[name]
        kept = {key: own.pop(key) for key in ("default", "title", "description") if key in own}
        fields[name] = {"anyOf": [own, FILE], **kept}
    bare = {block.__name__: block.bare for block in _blocks() if block.bare is not None}
    _let_bare(schema, schema["$defs"], bare)
    return schema


def _let_bare(node: Any, known: dict[str, Any], bare: Mapping[str, str]) -> None:
    """Let a bare value stand where a block is referred to that takes one."""
    for name, part in list(node.items() if isinstance(node, dict) else enumerate(node)):
        block = part.get("$ref", "").rpartition("/")[2] if isinstance(part, dict) else ""
        if block in bare:
            field = known[block]["properties"][bare[block]]
            node[name] = {"anyOf": [{k: field[k] for k in field if k not in TOLD}, part]}
        elif isinstance(part, dict | list):
            _let_bare(part, known, bare)


def meanings(block: type) -> dict[str, str]:
    """What each field of a block or dataclass means, its own and inherited: the text below it in
    the source.
    """
    found: dict[str, str] = {}
    for own in reversed(block.__mro__):
        if own not in (object, BaseModel, Block):
            tree = ast.parse(textwrap.dedent(inspect.getsource(own)))
            found |= {
                name: text
                for node in tree.body
                if isinstance(node, ast.ClassDef)
                for name, text in _documented(node.body)
            }
    return found


def _documented(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, after in pairwise(body):
        match field, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _blocks() -> list[type[Block]]:
    """Every block that a study file may hold."""
    known: list[type[Block]] = [Study]
    for block in known:
        for field in block.model_fields.values():
            known += [part for part in _parts(field.annotation) if part not in known]
    return known


def _parts(annotation: Any) -> Iterator[type[Block]]:
    """The blocks that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _field(schema: dict[str, Any], where: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The mapping in a schema that holds a field, and its name there."""
    node = schema
    for step in where[:-1]:
        node = _resolved(schema, node)
        if step != "*":
            node = node["properties"][step]
        else:
            node = node["items"] if "items" in node else node["additionalProperties"]
    return _resolved(schema, node)["properties"], where[-1]


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """What a node refers to, where it refers or may be null."""
    for choice in node.get("anyOf", ()):
        if "$ref" in choice:
            node = choice
    if "$ref" in node:
        found: dict[str, Any] = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return found
    return node
