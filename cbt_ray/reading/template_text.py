"""A Jinja template from outside is data: it reaches no Python, and what it counts, repeats and writes is bounded.

What may still take long or much in a single step is found by a trial in a process of its own (`trial`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import Any

from jinja2 import Template, TemplateRuntimeError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_STEPS = 100_000
"""Turns of loops, calls and sums of one rendering."""
LONGEST = 4_000_000
"""Characters, or entries, of anything that a template makes."""
WIDEST = 10_000
"""Any width, count or indent that is asked of a method or filter."""
_BITS = 16_384
_WIDE = re.compile(r"\d{5,}|\*")
"""A width or precision in a format that no text has, or one that is taken from a value."""
_steps: ContextVar[list[int]] = ContextVar("steps")


class TooMuch(TemplateRuntimeError):
    """A template asks for more than a prompt needs."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Renders templates of others: sandboxed, counted, measured."""

    intercepted_binops = frozenset(["**", "*", "+", "%"])

    def __init__(self, **options: Any) -> None:
        # Not optimized: what is constant would be computed while it is compiled, where nothing counts.
        super().__init__(optimized=False, **options)
        del self.globals["lipsum"]
        self.globals["range"] = _range
        self.filters = {name: _bounded(one) for name, one in self.filters.items()}
        self.filters |= {"-counted": _counted, "-measured": _measured}  # no template can name these

    def rendered(self, template: Template, values: dict[str, Any]) -> str:
        """The text of a template. Raises whatever goes wrong in it, TooMuch among others."""
        token, pieces, size = _steps.set([0]), [], 0
        try:
            for piece in template.generate(values):
                pieces.append(piece)
                size += len(piece)
                if size > LONGEST:
                    raise TooMuch(f"more than {LONGEST:,} characters")
        finally:
            _steps.reset(token)
        return "".join(pieces)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = _filtered(loop.iter, "-counted")
        for block in tree.find_all(nodes.AssignBlock):
            block.filter = _filtered(block.filter, "-measured")
        for assignment in tree.find_all(nodes.Assign):
            assignment.node = _filtered(assignment.node, "-measured")
        return tree

    def _load_template(self, name: str, globals: Any) -> Template:  # noqa: A002  the name that jinja2 gives it
        _step()
        return super()._load_template(name, globals)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  as jinja2 has it
        """Call what a template calls, with bounds on what it asks for."""
        _step(1 + sum(len(one) for one in args if isinstance(one, list | tuple | dict)))
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str | bytes | int):
            _narrow(args, kwargs)
            if getattr(__obj, "__name__", "") == "replace" and len(args) > 1:
                _replaceable(owner, args[0], args[1])
            if getattr(__obj, "__name__", "") in ("format", "format_map") and _WIDE.search(str(owner)):
                raise TooMuch("a format of that width")
        return _measured(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute where the result has a sane size."""
        _step()
        if isinstance(left, int) and isinstance(right, int):
            bits = {"**": left.bit_length() * max(right, 1), "*": left.bit_length() + right.bit_length()}
            if bits.get(operator, 0) > _BITS:
                raise TooMuch(f"a number of more than {_BITS:,} bits")
        elif operator == "*" and isinstance(left, Sized) | isinstance(right, Sized):
            things, times = (left, right) if isinstance(left, Sized) else (right, left)
            if isinstance(times, int) and len(things) * times > LONGEST:
                raise TooMuch(f"more than {LONGEST:,} characters")
        elif operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise TooMuch("a format of that width")
        return _measured(super().call_binop(context, operator, left, right))


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=getattr(node, "lineno", 1))


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


def _measured(value: Any) -> Any:
    if isinstance(value, str | bytes | list | tuple) and len(value) > LONGEST:
        raise TooMuch(f"more than {LONGEST:,} characters")
    return value


def _narrow(args: Iterable[Any], kwargs: dict[str, Any]) -> None:
    if any(isinstance(one, int | float) and not -WIDEST <= one <= WIDEST for one in [*args, *kwargs.values()]):
        raise TooMuch(f"a width or count above {WIDEST:,}")


def _replaceable(text: Any, old: Any, new: Any) -> None:
    if isinstance(text, Sized) and isinstance(new, Sized) and len(text) * len(new) > LONGEST * max(1, len(str(old))):
        raise TooMuch(f"more than {LONGEST:,} characters")


def _bounded(one: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts as a step, is asked for nothing wide and makes nothing long."""

    @functools.wraps(one)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _step()
        passed = 1 + hasattr(one, "jinja_pass_arg")  # the environment or context that comes before the value
        _narrow(args[passed:], kwargs)
        texts = [value for value in args if isinstance(value, str)]
        if one.__name__ == "do_replace" and len(texts) > 2:
            _replaceable(*texts[:3])
        if one.__name__ == "do_format" and _WIDE.search(texts[0] if texts else ""):
            raise TooMuch("a format of that width")
        return _measured(one(*args, **kwargs))

    return bounded
