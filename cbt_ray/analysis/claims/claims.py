"""Claims that were published on these very scores, recomputed: borne out or not, under the
published and the default analysis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.claims.claims_file import Claim, ClaimsFile, Test
from cbt_ray.analysis.claims.path import walk
from cbt_ray.analysis.document import to_json

if TYPE_CHECKING:
    from cbt_ray.analysis.analyse import Analysis
    from cbt_ray.analysis.claims.claim_tests import Evidence
    from cbt_ray.analysis.scores import Scores

BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE = "borne_out", "not_borne_out", "not_testable"
COLUMNS = ("published", "default")


def claims(analysis: Analysis, scores: Scores, file: ClaimsFile) -> list[dict[str, Any]]:
    """Every claim with its verdicts: one row a claim, JSON-ready."""
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
    return [_row(claim, file, evidence) for claim in file.all()]


def counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Column -> verdict -> how many claims."""
    verdicts = (BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE)
    return {
        column: {
            verdict: sum(row[column]["verdict"] == verdict for row in rows) for verdict in verdicts
        }
        for column in COLUMNS
    }


def _row(claim: Claim, file: ClaimsFile, evidence: Evidence) -> dict[str, Any]:
    source = file.sources[claim.source]
    published = _verdict(claim, claim.published, evidence)
    return {
        **{
            "id": claim.id,
            "group": claim.group,
            "text": claim.text,
            "kind": claim.kind,
            "printed": claim.printed,
        },
        **{
            "reading": claim.reading or None,
            "source": claim.source,
            "part": source.part,
            "url": source.url,
        },
        "published": published,
        "default": _verdict(claim, claim.default, evidence)
        if claim.default
        else {**published, "how": f"the same: {published['how']}"},
    }


def _verdict(claim: Claim, test: Test, evidence: Evidence) -> dict[str, Any]:
    """verdict, recomputed (a number or None), low, high, how it was tested, reason (why it could
    not be).
    """
    empty = {"recomputed": None, "low": None, "high": None}
    if test.none is not None:
        return {"verdict": NOT_TESTABLE, **empty, "how": "none", "reason": test.none}
    if test.descending:
        values = [walk(evidence.analysis, path) for path in test.descending]
        return _descending(values, empty)
    found = _found(test, evidence)
    value = found.get(test.field)
    how = _how(claim, test)
    if value is None:
        return {
            "verdict": NOT_TESTABLE,
            **empty,
            "how": how,
            "reason": found.get("reason") or "the analysis has no such number",
        }
    ends = (
        sorted(test.factor * found[end] for end in ("low", "high"))
        if found.get("low") is not None
        else [None, None]
    )
    shown = {"recomputed": test.factor * value, "low": ends[0], "high": ends[1]}
    if test.inside and ends[0] is None:
        return {
            "verdict": NOT_TESTABLE,
            **shown,
            "how": how,
            "reason": found.get("reason") or "the analysis prints no interval",
        }
    holds = _holds(claim, test, shown)
    return {"verdict": BORNE_OUT if holds else NOT_BORNE_OUT, **shown, "how": how, "reason": None}


def _found(test: Test, evidence: Evidence) -> dict[str, Any]:
    """The value and what stands beside it."""
    from cbt_ray.analysis.claims.claim_tests import COMPUTATIONS

    if test.compute:
        return COMPUTATIONS[test.compute](evidence, **test.arguments)
    beside = walk(evidence.analysis, test.path[:-1])
    beside = beside if isinstance(beside, Mapping) else {}
    interval = {
        end: beside.get(end) if test.path[-1] == "estimate" else None for end in ("low", "high")
    }
    return {
        test.field: walk(evidence.analysis, test.path),
        "reason": beside.get("reason"),
        **interval,
    }


def _holds(claim: Claim, test: Test, shown: Mapping[str, Any]) -> bool:
    value = shown["recomputed"]
    if test.digits:
        return as_printed(value, claim.printed or "") == claim.printed
    if test.inside:
        return bool(shown["low"] <= float(claim.printed or "nan") <= shown["high"])
    return bool(value < test.below) if test.below is not None else bool(value > (test.above or 0.0))


def _how(claim: Claim, test: Test) -> str:
    what = (
        ".".join(step if isinstance(step, str) else next(iter(step.values())) for step in test.path)
        or f"{test.compute}: {test.field}"
    )
    if test.digits:
        return f"{what} equals {claim.printed} to its last digit"
    if test.inside:
        return f"{claim.printed} lies in the interval of {what}"
    return (
        f"{what} {'<' if test.below is not None else '>'} "
        f"{test.below if test.below is not None else test.above:g}"
    )


def _descending(values: Sequence[float | None], empty: Mapping[str, Any]) -> dict[str, Any]:
    how = "each is greater than the next"
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {
            "verdict": NOT_TESTABLE,
            **empty,
            "how": how,
            "reason": "the analysis lacks one of the numbers",
        }
    falls = all(a > b for a, b in pairwise(known))
    shown = {**empty, "recomputed": min(a - b for a, b in pairwise(known))}
    return {
        "verdict": BORNE_OUT if falls else NOT_BORNE_OUT,
        **shown,
        "how": how + "; the smallest step is shown",
        "reason": None,
    }


def as_printed(value: float, printed: str) -> str:
    """A number with as many digits as another was printed with."""
    mantissa, exponent, _ = printed.lower().partition("e")
    places = len(mantissa.partition(".")[2])
    shown = f"{value:.{places}e}" if exponent else f"{value:.{places}f}"
    return shown.replace("-", "", 1) if float(shown) == 0 and shown.startswith("-") else shown
