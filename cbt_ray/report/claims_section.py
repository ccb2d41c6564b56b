"""Section "Claims": what was published on these scores, recomputed."""

from __future__ import annotations

from collections.abc import Sequence

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.claims.verdict import NOT_BORNE_OUT, Claims, RecomputedClaim, Verdicts
from cbt_ray.report.at import At
from cbt_ray.report.part import Fold, Part, Section, Text
from cbt_ray.report.prose import DASH, capital, one, text, whole, words
from cbt_ray.report.table import Column, Table, column, tabulate

TOLD = (
    "Every claim in our words, with its printed number, under the published and the default "
    "analysis. Verdicts are computed."
)
FAILED = "Claims that are not borne out, by either analysis"


def claims(analysis: Analysis) -> Section | None:
    """The claims with their verdicts, or why they have none; None where there are no claims."""
    found = At(analysis).of(lambda all_: all_.claims)
    if found.value is None or found.value.paper is None:
        return None
    if not found.value.rows:
        said = f"{found.value.paper}. Its claims are not recomputed: {found.value.reason}."
        return Section("claims", "Claims", [Text(said)])
    return _section(At(found.value, found.pointer))


def _section(found: At[Claims]) -> Section:
    head, rows = found.value, found.each(lambda all_: all_.rows)
    said = [f"{head.paper}." if head.paper else None, TOLD, head.not_had]
    parts: list[Part] = [Text(" ".join(filter(None, said)))]
    parts += [_verdicts(found)] if head.counts else []
    parts.append(_claims("t-claims-failed", FAILED, [row for row in rows if _failed(row.value)]))
    for number, group in enumerate(dict.fromkeys(row.value.group for row in rows)):
        own = [row for row in rows if row.value.group == group]
        name = capital(words(group))
        listed = _claims(f"t-claims-{number}", f"Claims: {name}", own)
        parts.append(Fold(f"{name} ({len(own)})", [listed]))
    return Section("claims", "Claims", parts)


def _failed(claim: RecomputedClaim) -> bool:
    return NOT_BORNE_OUT in (claim.published.verdict, claim.default.verdict)


def _verdicts(found: At[Claims]) -> Table:
    columns: list[Column[Verdicts | None]] = [
        column("Borne out", whole, lambda row: row.borne_out if row else None),
        column("Not borne out", whole, lambda row: row.not_borne_out if row else None),
        column("Not testable", whole, lambda row: row.not_testable if row else None),
    ]
    rows = [
        found.of(lambda all_: all_.counts.published if all_.counts else None),
        found.of(lambda all_: all_.counts.default if all_.counts else None),
    ]
    names = ["by the published analysis", "by the default analysis"]
    return tabulate(("t-verdicts", "Verdicts"), rows, columns, names=names)


def _claims(id_: str, title: str, rows: Sequence[At[RecomputedClaim]]) -> Table:
    columns: list[Column[RecomputedClaim]] = [
        column("Claim", text, lambda row: row.text, prose=True),
        column("Printed", text, lambda row: row.printed),
        column("Recomputed", _number, lambda row: row.published.recomputed),
        column("As published", words, lambda row: row.published.verdict),
        column("Default", _number, lambda row: row.default.recomputed),
        column("By default", words, lambda row: row.default.verdict),
        column(
            "Remark",
            _why,
            lambda row: row.reading,
            lambda row: row.published.reason,
            lambda row: row.default.reason,
            below=True,
        ),
    ]
    return tabulate((id_, title), rows, columns, empty="None.")


def _number(value: float | None) -> str:
    if value is None:
        return DASH
    return "< 0.001" if 0 < value < 0.0005 else one(value, 3)


def _why(*reasons: str | None) -> str:
    return " ".join(
        dict.fromkeys(f"{capital(reason).rstrip('.')}." for reason in reasons if reason)
    )
