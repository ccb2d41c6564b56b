"""What determines a unit, and the one door by which it comes into the unit's key.

A block of the study file says there what differs from its defaults, and nothing else: a new field
with a default changes no key. What is said is recorded in the unit, so that it can be compared with
what a later study file says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from cbt_ray.study.block import Block

Way = tuple[str, ...]
"""The names that lead to a value."""
NOTHING: Any = object()
"""What is said of a field that is not there."""
_PLAIN = frozenset({type(None), bool, str, int, float})


@dataclass(frozen=True)
class Fields:
    """Some of a block's fields: all but these, or only these.

    `also`: what else is said in their place, such as a digest for a path. Raises ValueError where
    the block lacks a field that is named: it was renamed here and not there.
    """

    block: Block
    but: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    also: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = type(self.block)
        unknown = (self.but | (self.only or frozenset())) - set(kind.model_fields)
        if unknown:
            raise ValueError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")

    @cached_property
    def said(self) -> dict[str, Any]:
        """What these fields say, taken once: a role is the same in hundreds of units."""
        known = defaults_of(type(self.block))
        names = [n for n in known if n not in self.but and (self.only is None or n in self.only)]
        return {**_said_of(self.block, {name: known[name] for name in names}), **said(self.also)}


def said(part: Any) -> Any:
    """A part of what determines a unit as JSON: of blocks, at any depth, what is not the default.

    Raises TypeError for what has no one form (a set, a path, an object): nothing comes into a key
    by its `repr`.
    """
    # Nearly all that is said is of these kinds; a large study says a hundred thousand of them.
    if type(part) in _PLAIN:
        return part
    if type(part) is dict or isinstance(part, Mapping):
        return {
            str(name): value if type(value) in _PLAIN else said(value)
            for name, value in part.items()
        }
    if isinstance(part, Fields):
        return part.said
    if isinstance(part, str | int | float):
        return part
    if isinstance(part, list | tuple):
        return [value if type(value) in _PLAIN else said(value) for value in part]
    if isinstance(part, Block):
        return _said_of(part, defaults_of(type(part)))
    raise TypeError(f"expected a block or a plain value in a key, found {type(part).__name__}")


def default_at(part: Any, way: Way) -> Any:
    """The default of the field that a way leads to, as JSON; NOTHING where it has none."""
    found: Any = NOTHING
    for name in way:
        if isinstance(part, Fields) and name not in part.also:
            part = part.block
        elif isinstance(part, Fields):
            part = part.also
        found = NOTHING
        if isinstance(part, Block):
            found = defaults_of(type(part)).get(name, NOTHING)
            part = getattr(part, name, None)
        elif isinstance(part, Mapping):
            part = part.get(name)
        else:
            part = part[int(name)] if isinstance(part, Sequence) and name.isdigit() else None
    return found


def differences(then: Any, now: Any, way: Way = ()) -> Iterator[tuple[Way, Any, Any]]:
    """Where two sayings differ: the way to it, what was said then, what is said now.

    NOTHING where one says nothing of it.
    """
    if then is not NOTHING and then == now:
        return
    if _is_list(then) and _is_list(now) and len(then) == len(now):
        then, now = (dict(zip(map(str, range(len(one))), one, strict=True)) for one in (then, now))
    before, after = ({} if one is NOTHING else one for one in (then, now))
    if isinstance(before, Mapping) and isinstance(after, Mapping) and (before or after):
        for name in dict.fromkeys([*before, *after]):
            here = before.get(name, NOTHING), after.get(name, NOTHING)
            yield from differences(*here, (*way, name))
    elif then is NOTHING or now is NOTHING or then != now:
        yield way, then, now


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _said_of(block: Block, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a block says in these fields beyond their defaults."""
    own = ((name, said(getattr(block, name))) for name in defaults)
    return {name: value for name, value in own if value != defaults[name]}


@cache
def defaults_of(kind: type[Block]) -> Mapping[str, Any]:
    """The defaults of a kind of block, as JSON, by the fields that decide something; NOTHING, which
    equals no value, where one is required.
    """
    return {
        name: NOTHING if info.is_required() else said(info.get_default(call_default_factory=True))
        for name, info in kind.model_fields.items()
        if name not in kind.decides_nothing
    }
