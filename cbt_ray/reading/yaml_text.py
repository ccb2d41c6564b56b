"""YAML from outside: plain values only, bounded in size, depth and what its aliases unfold to.

The values are made from the parser's events, as they come: PyYAML's own constructor follows an
alias into itself, unfolds ten lines to ten billion values, and lets a date that does not exist end
in a traceback.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.reading.regular import read_text

LARGEST = 4 << 20
"""Bytes of a file."""
DEEPEST = 40
"""Blocks within blocks; the study file has 6."""
MOST = 200_000
"""Values, those that aliases repeat counted each time."""
LONGEST_INTEGER = 40
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_INTEGER = "tag:yaml.org,2002:int"
_OLD = re.compile(
    r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|[-+]?0[0-9_]+|y|n|yes|no|on|off", re.IGNORECASE
)
"""What YAML 1.1 alone takes for a number or a truth value: `1:30` for 90, `010` for 8, `no` for
false. It is text here, as in YAML 1.2; a field that wants a number or a truth value says so, or
takes it as it is written."""
_PLAIN = {
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "timestamp", "str")
}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(file: Path, name: str | None = None) -> Any:
    """A YAML file's value. Raises InputError, one line: file, line, field."""
    return yaml_of(read_text(file, name, LARGEST), name or str(file))


def yaml_of(text: str, name: str) -> Any:
    """The value of a YAML text; `name` stands for it in messages.

    Raises InputError, one line: file, line, field.
    """
    try:
        reader = _Reader(yaml.parse(text, Loader=_LOADER))
        return reader.document()
    except _Refused as refused:
        where = f"{refused.field}: " if refused.field else ""
        line = f", line {refused.line}" if refused.line else ""
        raise InputError(f"{name}{line}: {where}{refused.said}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"{name}{line}: expected YAML: {said}") from None


class _Refused(Exception):
    def __init__(self, said: str, event: Any, path: tuple[str, ...]) -> None:
        super().__init__(said)
        self.said = said
        self.field = ".".join(path)
        self.line = event.start_mark.line + 1 if event.start_mark else 0


class _Open:
    """What an anchor names while its block is still being read: an alias to it would hold
    itself.
    """


@dataclass
class _Anchored:
    value: Any
    size: int


@dataclass
class _Reader:
    """Builds plain values from events; counts what it builds."""

    events: Iterator[Any]
    anchors: dict[str, _Anchored | _Open] = field(default_factory=dict)
    count: int = 0
    resolver: Any = field(default_factory=Resolver)
    constructor: SafeConstructor = field(default_factory=SafeConstructor)

    def document(self) -> Any:
        value = None
        for event in self.events:
            if isinstance(
                event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent
            ):
                continue
            if isinstance(event, yaml.DocumentStartEvent):
                if self.count:
                    raise _Refused("expected one document, found another after `---`", event, ())
                continue
            value = self._value(event, ())
        return value

    def _value(self, event: Any, path: tuple[str, ...]) -> Any:
        self._counted(1, event, path)
        if len(path) > DEEPEST:
            raise _Refused(f"expected at most {DEEPEST} blocks within each other", event, path[:3])
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        before = self.count
        if event.anchor:
            self.anchors[event.anchor] = _Open()
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._plain(event, "tag:yaml.org,2002:seq", path)
            value = self._list(path)
        else:
            self._plain(event, "tag:yaml.org,2002:map", path)
            value = self._mapping(path)
        if event.anchor:
            self.anchors[event.anchor] = _Anchored(value, self.count - before)
        return value

    def _counted(self, more: int, event: Any, path: tuple[str, ...]) -> None:
        self.count += more
        if self.count > MOST:
            raise _Refused(
                f"expected at most {MOST:,} values, with what its aliases repeat", event, path
            )

    def _alias(self, event: Any, path: tuple[str, ...]) -> Any:
        known = self.anchors.get(event.anchor)
        if known is None:
            raise _Refused(f"expected a value named &{event.anchor} before it", event, path)
        if isinstance(known, _Open):
            raise _Refused(
                f"expected a value that does not hold itself (*{event.anchor})", event, path
            )
        self._counted(known.size, event, path)
        return copy.deepcopy(known.value)  # or --set of one field would change the others, too

    def _plain(self, event: Any, tag: str, path: tuple[str, ...]) -> None:
        if event.tag not in (None, "!", tag):
            raise _Refused(f"expected a plain value, found the tag {event.tag}", event, path)

    def _list(self, path: tuple[str, ...]) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, str(len(values)))))
        return values

    def _mapping(self, path: tuple[str, ...]) -> dict[Any, Any]:
        own: dict[Any, Any] = {}
        merged: list[Any] = []
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _Refused("expected a name, found a list or a mapping", event, path)
            if self._tag(event) == _MERGE:
                merged += self._merged(path)
                continue
            key = self._value(event, path)
            if key in own:
                raise _Refused(f"{key!r} is given twice", event, path)
            own[key] = self._value(next(self.events), (*path, str(key)))
        for more in merged:
            own = {**more, **own}
        return own

    def _merged(self, path: tuple[str, ...]) -> list[dict[Any, Any]]:
        """What `<<` brings: a mapping, or a list of them, of which the first counts."""
        event = next(self.events)
        value = self._value(event, (*path, "<<"))
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise _Refused("<<: expected a mapping, or a list of them", event, path)
        return parts

    def _tag(self, event: yaml.ScalarEvent) -> str:
        if event.tag is None or event.tag == "!":
            tag = str(self.resolver.resolve(yaml.ScalarNode, event.value, event.implicit))
            meant = tag in _PLAIN or tag == _MERGE  # `=` has a kind of its own
            return tag if meant and not _OLD.fullmatch(event.value) else _TEXT
        return str(event.tag)

    def _scalar(self, event: yaml.ScalarEvent, path: tuple[str, ...]) -> Any:
        tag, text = self._tag(event), event.value
        shown = repr(text if len(text) <= LONGEST_INTEGER else f"{text[:LONGEST_INTEGER]}...")
        if "\0" in text:
            raise _Refused("expected text without NUL characters", event, path)
        if tag not in _PLAIN:
            raise _Refused(f"expected a plain value, found the tag {tag}", event, path)
        if tag == _INTEGER and len(text) > LONGEST_INTEGER:
            raise _Refused(
                f"expected a smaller number, found one of {many(len(text), 'digit')}", event, path
            )
        try:
            return self.constructor.construct_object(yaml.ScalarNode(tag, text), deep=True)
        except (ValueError, KeyError, AttributeError, OverflowError, yaml.YAMLError):
            kind = tag.rpartition(":")[2]
            expected = (
                f"expected a value of YAML's kind {kind}, found {shown}; text goes into quotes"
            )
            raise _Refused(expected, event, path) from None
