"""What the parity gate says of a model: named checks, each with what was measured."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

_FOLDERS = re.compile(r"(?<![\w.:/-])(?:~|\.{1,2})?/(?:[\w.@+-]+/)*(?=[\w.@+-])")
"""Where a path of the machine leads through; what it leads to is left."""


def without_folders(value: Any) -> Any:
    """A text, or all texts of a JSON value, without the folders of the machine that they come
    from.
    """
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, dict):
        return {name: without_folders(one) for name, one in value.items()}
    return [without_folders(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Check:
    """One named check: whether it passed (None: only reported), what was measured (JSON), what was
    expected.
    """

    name: str
    passed: bool | None
    measured: dict[str, Any]
    expected: str


@dataclass(frozen=True)
class Verdict:
    """All checks of one model, and what a server of it has to say (see `expected`, JSON)."""

    checks: tuple[Check, ...]
    reference: tuple[dict[str, Any], ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(check.name for check in self.checks if check.passed is False)

    def to_json(self) -> dict[str, Any]:
        """For the store."""
        return {
            "passed": not self.failed,
            "failed": list(self.failed),
            "checks": [without_folders(asdict(check)) for check in self.checks],
        }
