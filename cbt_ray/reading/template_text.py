"""A Jinja template from outside is data: it reaches no Python, and what it counts, repeats and
writes is bounded.

What may still take long or much in a single step is found by a trial in a process of its own
(`trial`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from jinja2 import Template, TemplateError, TemplateRuntimeError, nodes, pass_eval_context
from jinja2.compiler import CodeGenerator
from jinja2.nodes import EvalContext
from jinja2.runtime import markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MOST_STEPS = 50_000
"""Turns of loops, calls and sums of one rendering; what is long counts as several."""
LONGEST = 4_000_000
"""Characters of anything that a template makes."""
MOST_ENTRIES = 100_000
"""Of a list."""
LONGEST_SOURCE = 1 << 20
"""Characters of a template; the longest that are known have 20,000."""
WIDEST = 10_000
"""Any width, count or indent that is asked of a method or filter."""
LONGEST_SAID = 200
"""Characters of what is wrong with one: a template can say anything."""
_A_STEP = 500
"""Characters, or entries, that count as a step."""
_BITS = 16_384
_WIDE = re.compile(r"\d{5,}|\*")
"""A width or precision in a format that no text has, or one that is taken from a value."""
_SIZED = (str, bytes, dict, list, tuple, set, Namespace)
_steps: ContextVar[list[int]] = ContextVar("steps")


class TooMuch(TemplateRuntimeError):
    """A template asks for more than one needs."""


class _Generator(CodeGenerator):
    """Leaves constants to the rendering, where they are bounded.

    Jinja computes them when it compiles.
    """

    def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Renders templates of others: sandboxed, counted, measured."""

    intercepted_binops = frozenset(["**", "*", "+", "%"])
    code_generator_class = _Generator

    def __init__(
        self, filters: dict[str, Callable[..., Any]] | None = None, **options: Any
    ) -> None:
        """`filters`: to be had beside Jinja's; the rest are Jinja's own options."""
        super().__init__(optimized=False, **options)  # for the same reason
        del self.globals["lipsum"]
        self.globals["range"] = _range
        self.filters = {
            name: _bounded(name, one) for name, one in (self.filters | (filters or {})).items()
        }
        # No template can name these, or put others in their place.
        self.filters |= {
            "-counted": _counted,
            "-measured": _measured,
            "-joined": _joined,
            "-told": _told,
        }

    def rendered(self, template: Template, values: Mapping[str, Any]) -> str:
        """The text of a template.

        Raises TemplateError for whatever goes wrong in it, TooMuch among others.
        """
        token, pieces, size = _steps.set([0]), [], 0
        try:
            for piece in template.generate(values):
                pieces.append(piece)
                size += len(piece)
                _short(size)
        except Exception as error:  # its own code: divided by zero, called itself without end
            raise _as_template_error(error) from None
        finally:
            _steps.reset(token)
        return "".join(pieces)

    def compile(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        """Compile a template. Raises TemplateError for whatever goes wrong."""
        if isinstance(source, str) and len(source) > LONGEST_SOURCE:
            raise TemplateError(
                f"expected at most {LONGEST_SOURCE:,} characters, found {len(source):,}"
            )
        try:
            return super().compile(source, *args, **kwargs)
        except (
            Exception
        ) as error:  # Python's compiler refuses what Jinja made of it: nested too deep
            raise _as_template_error(error) from None

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Measuring().visit(super()._parse(source, name, filename))  # type: ignore[no-any-return]

    def _load_template(self, name: str, globals: Any) -> Template:  # noqa: A002  the name that jinja2 gives it
        _step()
        return super()._load_template(name, globals)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  as jinja2 has it
        """Call what a template calls, with bounds on what it asks for."""
        _step()
        method = getattr(
            __obj, "__wrapped__", __obj
        )  # the sandbox has its own function for `format`
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes | int):
            _narrow(args, kwargs)
            _measured(owner)
            _short(_grown(getattr(method, "__name__", ""), owner, [*args, *kwargs.values()]))
        elif not isinstance(owner, Namespace):
            _measured(args)
        return _measured(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute where the result has a sane size."""
        _step()
        if isinstance(left, int) and isinstance(right, int):
            bits = {
                "**": left.bit_length() * max(right, 1),
                "*": left.bit_length() + right.bit_length(),
            }
            if bits.get(operator, 0) > _BITS:
                raise TooMuch(f"a number of more than {_BITS:,} bits")
        elif operator == "*":
            _short(_times(left) * _times(right))
        elif operator == "%" and isinstance(left, str):
            _short(_grown("format", left, [right]))
        elif operator == "+":
            _short(_size(left, {}) + _size(right, {}))
        return _measured(super().call_binop(context, operator, left, right))


class _Measuring(NodeTransformer):
    """Puts a measure at each place where a template repeats, builds, compares or writes."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "-counted")
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.filter = _filtered(node.filter, "-measured")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "-joined")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "-measured")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "-measured")
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "-measured")

    visit_Dict = visit_List  # noqa: N815

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "-measured") if node.ctx == "load" else node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        """What is written within a macro or block is in no piece of the rendering before it is
        whole.
        """
        self.generic_visit(node)
        plain = [part for part in node.nodes if isinstance(part, nodes.TemplateData)]
        length = sum(len(part.data) for part in plain)
        parts = [part if part in plain else _filtered(part, "-measured") for part in node.nodes]
        told = (
            [_filtered(nodes.Const(length, lineno=node.lineno), "-told")]
            if length >= _A_STEP
            else []
        )
        node.nodes = [*told, *parts]
        return node


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=getattr(node, "lineno", 1))


def _as_template_error(error: Exception) -> Exception:
    """A fault of a template's own code, on one line; of what says so already the words, bounded."""
    if type(error).__module__.startswith("cbt_ray."):
        return error
    said = " ".join(str(error).split())[:LONGEST_SAID]
    if isinstance(error, TemplateError):
        error.args = ((error.message or "")[:LONGEST_SAID], *error.args[1:])
        return error
    return TemplateRuntimeError(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def _step(number: int = 1) -> None:
    steps = _steps.get([0])
    steps[0] += number
    if steps[0] > MOST_STEPS:
        raise TooMuch(f"more than {MOST_STEPS:,} steps")


def _counted(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _step()
        yield value


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    try:
        _step(len(numbers))
    except OverflowError:  # more than a machine word counts
        _step(MOST_STEPS)
    return numbers


def _size(value: Any, known: dict[int, int]) -> int:
    """Characters and entries of a value that is written out: what it holds several times counts as
    often.
    """
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Namespace):
        return _size(value._Namespace__attrs, known)
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in known:
        if len(value) > MOST_ENTRIES:
            raise TooMuch(f"more than {MOST_ENTRIES:,} entries")
        known[id(value)] = 1  # of one that holds itself
        parts: Iterable[Any] = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]


def _measured(value: Any) -> Any:
    if isinstance(value, _SIZED):
        size = len(value) if isinstance(value, str) else _size(value, {})
        _short(size)
        _step(size // _A_STEP)
    return value


@pass_eval_context
def _joined(context: EvalContext, parts: Sequence[Any]) -> str:
    """`~`, as Jinja does it."""
    _measured(parts)
    return markup_join(parts) if context.autoescape else str_join(parts)


def _told(length: int) -> str:
    _step(length // _A_STEP)
    return ""


def _short(size: int) -> None:
    if size > LONGEST:
        raise TooMuch(f"more than {LONGEST:,} characters")


def _narrow(args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    if any(
        isinstance(one, int | float) and not -WIDEST <= one <= WIDEST
        for one in [*args, *kwargs.values()]
    ):
        raise TooMuch(f"a width or count above {WIDEST:,}")


def _times(value: Any) -> int:
    """How long a text or list is, or how often a number repeats it."""
    return max(value, 0) if isinstance(value, int) else _size(value, {})


def _grown(name: str, value: Any, args: Sequence[Any]) -> int:
    """How long at most a method or filter makes a text (0: not longer than it is, but for a
    width).
    """
    text, first = str(value) if name not in ("join", "tojson") else "", next(iter(args), "")
    widest = max(map(_times, args), default=0)
    if name == "replace" and len(args) > 1:
        return len(text) + text.count(str(first)) * len(str(args[1]))
    if name == "join":
        separator, parts = (
            (value, first)
            if isinstance(value, str | bytes) and not isinstance(first, str)
            else (first, value)
        )
        return _size(parts, {}) + _size(separator, {}) * (
            len(parts) if hasattr(parts, "__len__") else 1
        )
    if name in ("format", "format_map"):
        if _WIDE.search(text):
            raise TooMuch("a format of that width")
        return len(text) + max(text.count("{"), text.count("%")) * max(
            (_size(one, {}) for one in args), default=0
        )
    if name in ("indent", "expandtabs"):
        return len(text) + (text.count("\n") + text.count("\t") + 1) * max(widest, 8)
    if name == "tojson":
        return _size(value, {}) * (1 + widest)
    return len(text) * widest if name == "translate" else 0


def _bounded(name: str, one: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts as a step, is asked for nothing wide and makes nothing long."""

    @functools.wraps(one)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _step()
        passed = int(
            hasattr(one, "jinja_pass_arg")
        )  # the environment or context that comes before the value
        value, asked = args[passed], args[passed + 1 :]
        _narrow(asked, kwargs)
        _measured(value)
        _short(_grown(name, value, [*asked, *kwargs.values()]))
        return _measured(one(*args, **kwargs))

    return bounded
