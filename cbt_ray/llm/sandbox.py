"""Jinja as chat templates have it: the bounded environment of all templates, with what transformers
adds to it.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension

from cbt_ray.reading.template_text import BoundedEnvironment


class Sandbox(BoundedEnvironment):
    """An environment as transformers has it for chat templates, bounded."""

    def __init__(self) -> None:
        super().__init__(
            {"tojson": _to_json},
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self.globals["raise_exception"] = _refuse

    def compiled(self, source: str) -> Template:
        """A template, ready to be rendered. Raises TemplateError, one line."""
        try:
            return self.from_string(source)
        except TemplateSyntaxError as error:
            raise TemplateError(f"line {error.lineno}: {error.message}") from None


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: transformers finds the assistant's words by it.

    Here they are only rendered.
    """

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,  # by position, as transformers takes them
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
