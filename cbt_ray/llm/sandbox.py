"""Jinja for templates that come with a model: data from elsewhere, so they reach nothing of Python and come to an end.

Jinja's own sandbox keeps them from attributes and from changing what they are given. Here rounds of loops and calls are counted,
and what a template writes or builds is bounded, so that neither time nor memory runs out.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_STEPS = 50_000
"""Rounds of loops and calls in one rendering; a conversation of 50 messages takes some hundred."""
LONGEST = 4_000_000
"""Characters that are written, and of any text that is built on the way."""
LONGEST_SOURCE = 1_000_000
"""Characters of a template; the longest that are known have 20,000."""
_WIDTH = 1_000
"""Columns that a text is padded to, or moved by."""
_WIDE = re.compile(r"%[^%a-zA-Z]*(\d{4,}|\*)|\{[^{}]*\d{4,}[^{}]*\}")
_PADDING = {"center", "ljust", "rjust", "zfill", "expandtabs"}
_FILTERS = ("center", "indent", "wordwrap", "batch", "slice")
"""What they are given as numbers are widths."""

_count = threading.local()


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment as transformers has it for chat templates, bounded."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self.globals.pop("lipsum", None)
        self.globals["raise_exception"] = _refuse
        self.filters["tojson"] = _to_json
        self.filters["_step"] = _step_of
        self.filters["_joined"] = _joined
        for name in _FILTERS:
            self.filters[name] = _bounded(self.filters[name])
        self.filters["replace"] = _bounded_replace(self.filters["replace"])
        self.filters["format"] = _bounded_format(self.filters["format"])

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        return _Counting().visit(tree)  # type: ignore[no-any-return]

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Count a call, and refuse one that would build a text without end."""
        _step()
        method = getattr(obj, "__wrapped__", obj)  # the sandbox puts its own function around `format`
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            _expect_bounded(owner, name, args, kwargs)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate, where the result stays small."""
        if operator == "%" and isinstance(left, str):
            _expect_plain(left)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _expect_short(left.bit_length() * abs(right))
        elif operator == "*" and not (isinstance(left, int) and isinstance(right, int)):
            _expect_short(_size(left) * _size(right))
        elif operator == "+" and not isinstance(left, int):
            _expect_short(_size(left) + _size(right))
        return super().call_binop(context, operator, left, right)


def rendered(template: Any, values: Mapping[str, Any]) -> str:
    """What a template of a Sandbox writes. Raises TemplateError for whatever goes wrong within it, or without end."""
    _count.left = MOST_STEPS
    pieces: list[str] = []
    length = 0
    try:
        for piece in template.generate(**values):
            pieces.append(piece)
            length += len(piece)
            _expect_short(length)
    except TemplateError:
        raise
    except (MemoryError, RecursionError) as error:
        raise TemplateError(f"it does not come to an end ({type(error).__name__})") from None
    except Exception as error:  # its own code: divided by zero, added a word to a number
        raise TemplateError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
    return "".join(pieces)


def compiled(environment: Sandbox, source: str) -> Any:
    """A template, ready to be rendered. Raises TemplateError."""
    if len(source) > LONGEST_SOURCE:
        raise TemplateError(f"expected at most {LONGEST_SOURCE:,} characters, found {len(source):,}")
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from None
    except TemplateError:
        raise
    except RecursionError:
        raise TemplateError("nested too deep") from None
    except Exception as error:  # Python's compiler refuses what Jinja made of it, or a constant in it does
        raise TemplateError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from None


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: transformers finds the assistant's words by it; here they are only rendered."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Counting(NodeTransformer):
    """Makes each round of a loop count, and `~` look at what it joins. As filters: no template can put others in their place."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        step = nodes.Filter(nodes.Const(None), "_step", [], [], None, None)
        node.body = [nodes.ExprStmt(step).set_lineno(node.lineno), *node.body]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        joined = nodes.Filter(nodes.List(node.nodes), "_joined", [], [], None, None)
        return joined.set_lineno(node.lineno)


@pass_context
def _step_of(_context: Context, _value: None) -> None:
    """As a filter; it takes the context, or Jinja would call it once, when it compiles."""
    _step()


def _step() -> None:
    _count.left = getattr(_count, "left", MOST_STEPS) - 1
    if _count.left < 0:
        raise TemplateError(f"it does not come to an end within {MOST_STEPS:,} steps")


def _joined(parts: Sequence[Any]) -> str:
    texts = [str(part) for part in parts]
    _expect_short(sum(map(len, texts)))
    return "".join(texts)


def _bounded(filter_: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _expect_narrow(*args, *kwargs.values())
        return filter_(*args, **kwargs)

    if hasattr(filter_, "jinja_pass_arg"):
        bounded.jinja_pass_arg = filter_.jinja_pass_arg  # type: ignore[attr-defined]
    return bounded


def _bounded_replace(filter_: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(context: Any, text: Any, old: Any, new: Any, count: Any = None) -> Any:
        _expect_short(_replaced(str(text), old, new))
        return filter_(context, text, old, new, count)

    bounded.jinja_pass_arg = filter_.jinja_pass_arg  # type: ignore[attr-defined]
    return bounded


def _bounded_format(filter_: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(text: Any, *args: Any, **kwargs: Any) -> Any:
        _expect_plain(str(text))
        return filter_(text, *args, **kwargs)

    return bounded


def _size(value: Any) -> int:
    """How long a text or a list is, or how often a number repeats it."""
    if isinstance(value, str | list | tuple):
        return len(value)
    return min(abs(value), LONGEST + 1) if isinstance(value, int) else 1


def _expect_bounded(text: str, method: str, args: Sequence[Any], more: Mapping[str, Any]) -> None:
    """Refuse a call of a text's method whose result would be long."""
    if method in _PADDING:
        _expect_narrow(*args, *more.values())
    elif method == "replace" and len(args) > 1:
        _expect_short(_replaced(text, args[0], args[1]))
    elif method == "join" and args and isinstance(args[0], Sequence):
        _expect_short(sum(len(text) + len(str(one)) for one in args[0]))
    elif method in {"format", "format_map"}:
        _expect_plain(text)


def _expect_plain(form: str) -> None:
    if _WIDE.search(form):
        raise TemplateError(f"a text padded to more than {_WIDTH} columns")


def _replaced(text: str, old: Any, new: Any) -> int:
    """How long a text is at most after its parts are replaced."""
    return len(text) + (text.count(str(old)) if str(old) else len(text) + 1) * len(str(new))


def _expect_short(length: int) -> None:
    if length > LONGEST:
        raise TemplateError(f"it writes, or builds, more than {LONGEST:,} characters")


def _expect_narrow(*numbers: Any) -> None:
    for number in numbers:
        if (isinstance(number, int) and abs(number) > _WIDTH) or (isinstance(number, str) and len(number) > LONGEST):
            raise TemplateError(f"a text padded to more than {_WIDTH} columns")


def _refuse(message: str) -> NoReturn:
    raise TemplateError(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,  # by position, as transformers takes them
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    _expect_narrow(*([indent] if isinstance(indent, int) else [len(indent or "")]))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
