"""What the parity gate says of a model: named checks, each with what was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One named check: whether it passed (None: only reported), what was measured (JSON), what was expected."""

    name: str
    passed: bool | None
    measured: dict[str, Any]
    expected: str


@dataclass(frozen=True)
class Verdict:
    """All checks of one model."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(check.name for check in self.checks if check.passed is False)

    def to_json(self) -> dict[str, Any]:
        """For the store."""
        return {"passed": not self.failed, "failed": list(self.failed), "checks": [asdict(check) for check in self.checks]}
