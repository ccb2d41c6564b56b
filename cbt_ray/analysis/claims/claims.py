"""Claims that were published on these very scores, recomputed: borne out or not, under the
published and the default analysis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from cbt_ray.analysis.claims.claims_file import Claim, ClaimsFile, Test
from cbt_ray.analysis.claims.path import number, walk, written
from cbt_ray.analysis.claims.verdict import (
    BORNE_OUT,
    NOT_BORNE_OUT,
    NOT_TESTABLE,
    Claims,
    ClaimVerdict,
    RecomputedClaim,
    VerdictCounts,
    Verdicts,
)
from cbt_ray.analysis.document import to_json

if TYPE_CHECKING:
    from cbt_ray.analysis.analyse import Analysis
    from cbt_ray.analysis.claims.claim_tests import Evidence, Found
    from cbt_ray.analysis.scores import Scores

SAME = 1e-9
"""Closer than this in proportion, two numbers are one: they are not exact in binary."""
NO_NUMBER = "the analysis has no such number"
NO_INTERVAL = "the analysis prints no interval"


def claims(analysis: Analysis, scores: Scores, file: ClaimsFile) -> Claims:
    """Every claim of a file with its verdicts."""
    from cbt_ray.analysis.claims.claim_tests import Evidence
    from cbt_ray.analysis.effect.policy import counted

    settings = analysis.settings
    sessions = counted(
        scores.sessions(analysis.view, analysis.judge),
        settings.unrated,
        len(analysis.items),
        settings,
    )
    evidence = Evidence(to_json(analysis), sessions, settings)
    rows = [_row(claim, file, evidence) for claim in file.all()]
    not_had = " ".join(file.not_had.split())
    return Claims(rows, file.paper, file.url, not_had, file.sources, counts(rows))


def counts(rows: Sequence[RecomputedClaim]) -> VerdictCounts:
    """How many claims have which verdict."""
    return VerdictCounts(
        _counted([row.published for row in rows]), _counted([row.default for row in rows])
    )


def _counted(verdicts: Sequence[ClaimVerdict]) -> Verdicts:
    said = Counter(one.verdict for one in verdicts)
    return Verdicts(said[BORNE_OUT], said[NOT_BORNE_OUT], said[NOT_TESTABLE])


def _row(claim: Claim, file: ClaimsFile, evidence: Evidence) -> RecomputedClaim:
    source = file.sources[claim.source]
    published = _verdict(claim, claim.published, evidence)
    return RecomputedClaim(
        claim.id,
        claim.group,
        claim.text,
        claim.kind,
        claim.printed,
        claim.reading or None,
        claim.source,
        source.part,
        source.url,
        published,
        _verdict(claim, claim.default, evidence)
        if claim.default
        else replace(published, how=f"the same: {published.how}"),
    )


def _verdict(claim: Claim, test: Test, evidence: Evidence) -> ClaimVerdict:
    if test.none is not None:
        return ClaimVerdict(NOT_TESTABLE, "none", reason=test.none)
    if test.descending:
        return _descending([number(walk(evidence.analysis, path)) for path in test.descending])
    found, how = _found(test, evidence), _how(claim, test)
    if found.value is None:
        return ClaimVerdict(NOT_TESTABLE, how, reason=found.reason or NO_NUMBER)
    verdict = ClaimVerdict(NOT_TESTABLE, how, found.value, found.low, found.high)
    if test.inside and found.low is None:
        return replace(verdict, reason=found.reason or NO_INTERVAL)
    return replace(verdict, verdict=BORNE_OUT if _holds(claim, test, found) else NOT_BORNE_OUT)


def _found(test: Test, evidence: Evidence) -> Found:
    """The number in the claim's own unit, with its interval."""
    found = _computed(test, evidence) if test.compute else _read(test, evidence)
    value, low, high = (
        None if one is None else test.factor * one for one in (found.value, found.low, found.high)
    )
    if low is not None and high is not None:
        low, high = sorted((low, high))
    return replace(found, value=value, low=low, high=high)


def _computed(test: Test, evidence: Evidence) -> Found:
    from cbt_ray.analysis.claims.claim_tests import COMPUTATIONS, Found

    found = COMPUTATIONS[test.compute or ""](evidence, **test.arguments)
    return Found(found.p, reason=found.reason) if test.field == "p" else found


def _read(test: Test, evidence: Evidence) -> Found:
    """The number at a path, with the interval and the reason that stand beside it."""
    from cbt_ray.analysis.claims.claim_tests import Found

    beside = walk(evidence.analysis, test.path[:-1])
    row = beside if isinstance(beside, dict) else {}
    value = number(walk(evidence.analysis, test.path))
    if test.over:
        under = number(walk(evidence.analysis, test.over))
        value = value / under if value is not None and under else None
    low, high = (
        number(row.get(end)) if test.path[-1] == "estimate" else None for end in ("low", "high")
    )
    reason = row.get("reason")
    return Found(value, low, high, reason=reason if isinstance(reason, str) else None)


def _holds(claim: Claim, test: Test, found: Found) -> bool:
    value = found.value or 0.0
    if test.digits:
        return prints_as(value, claim.printed or "")
    if test.inside and found.low is not None and found.high is not None:
        return found.low <= float(claim.printed or "nan") <= found.high
    return value < test.below if test.below is not None else value > (test.above or 0.0)


def _how(claim: Claim, test: Test) -> str:
    what = written(test.path) or f"{test.compute}: {test.field}"
    what += f" over {written(test.over)}" if test.over else ""
    if test.digits:
        return f"{what} equals {claim.printed} to its last digit"
    if test.inside:
        return f"{claim.printed} lies in the interval of {what}"
    return (
        f"{what} {'<' if test.below is not None else '>'} "
        f"{test.below if test.below is not None else test.above:g}"
    )


def _descending(values: Sequence[float | None]) -> ClaimVerdict:
    how = "each is greater than the next"
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ClaimVerdict(NOT_TESTABLE, how, reason="the analysis lacks one of the numbers")
    least = min(a - b for a, b in pairwise(known))
    return ClaimVerdict(
        BORNE_OUT if least > 0 else NOT_BORNE_OUT,
        f"{how}; the smallest step is shown",
        least,
    )


def prints_as(value: float, printed: str) -> bool:
    """Whether a number is printed so; half of a last digit may go either way."""
    near = (value, value * (1 + SAME), value * (1 - SAME))
    return printed in [as_printed(one, printed) for one in near]


def as_printed(value: float, printed: str) -> str:
    """A number with as many digits as another was printed with."""
    mantissa, exponent, _ = printed.lower().partition("e")
    places = len(mantissa.partition(".")[2])
    shown = f"{value:.{places}e}" if exponent else f"{value:.{places}f}"
    return shown.replace("-", "", 1) if float(shown) == 0 and shown.startswith("-") else shown
