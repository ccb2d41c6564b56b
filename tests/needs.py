"""What a test needs that a machine may lack: it skips by name, which the last line of the run sums
up, and REQUIRE=a,b turns those skips into failures.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from cbt_ray.count import many

NEEDS = "needs "


def needs(what: str, present: bool) -> None:
    """Skip the test where `what` is absent; fail instead where REQUIRE names it."""
    if present:
        return
    if what in os.environ.get("REQUIRE", "").split(","):
        pytest.fail(f"{NEEDS}{what}, which REQUIRE names")
    pytest.skip(f"{NEEDS}{what}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """End the run with the line."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    if reasons := Counter(_reason(one) for one in skipped):
        terminalreporter.write_line(summary(reasons))


def summary(reasons: Counter[str]) -> str:
    """What the machine lacks, and why else tests were skipped."""
    told = [f"{reason} ({many(count, 'test')})" for reason, count in reasons.most_common()]
    names = [reason.removeprefix(NEEDS) for reason in reasons if reason.startswith(NEEDS)]
    how = f"; with REQUIRE={','.join(sorted(names))} they fail" if names else ""
    return f"skipped: {', '.join(told)}{how}"


def _reason(report: pytest.TestReport) -> str:
    said = report.longrepr
    return str(said[2] if isinstance(said, tuple) else said).removeprefix("Skipped: ")
