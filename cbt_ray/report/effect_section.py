"""Section "Effects": the families of contrasts, what other ways to count sessions would say, and
the tests over all arms.
"""

from __future__ import annotations

from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report import effect_figures
from cbt_ray.report.figure import titles
from cbt_ray.report.outcome_section import outcomes
from cbt_ray.report.part import Fold, Heading, Part, Section, Text
from cbt_ray.report.prose import (
    DASH,
    capital,
    interval_of,
    one,
    percent,
    probability,
    signed,
    text,
    three,
    two,
    whole,
)
from cbt_ray.report.table import Cell, Column, Row, Table, cell, listed, pick, table, under

POLICIES = {
    "missing": "Missing",
    "lowest": "Lowest total",
    "unflagged": "Without flagged",
    "heard": "Therapist heard",
}
COUNTED = {"lowest": ("filled", "Given the lowest"), "heard": ("left_out", "Left out")}
"""Policy -> the sessions that it treats otherwise, as the column after it counts them."""
BOUNDS = {"bounds": "Bounds, any score", "lee": "Bounds after Lee"}


def effects(analysis: Analysis) -> Section:
    """The section."""
    primary = pick(analysis, "/contrasts/primary/rows")
    caveat = " ".join(dict.fromkeys(s for row in primary for s in sentences(row["caveat"])))
    parts: list[Part] = [
        family(analysis, "primary", "t-primary", "Primary contrasts", caveat),
        family(analysis, "secondary", "t-secondary", "Secondary contrasts", ""),
        _standardized(analysis),
        effect_figures.interaction(analysis),
        *outcomes(analysis),
        _omnibus(analysis),
        Heading("Other ways to count sessions"),
        *_policies(analysis),
        *_covariate(analysis),
        *_refitted(analysis),
        Fold("Contrasts of every item (exploratory)", [_items(analysis)]),
    ]
    return Section("effects", "Effects", parts)


def sentences(said: str) -> list[str]:
    """The sentences of a text."""
    return [f"{part.rstrip('.')}." for part in said.split(". ") if part]


def post_hoc(analysis: Analysis, part: str) -> str:
    """Marks numbers that rest on what was declared after the first rating, or never."""
    late = pick(analysis.get("declared"), "/post_hoc") or []
    return "Post hoc. " if "everything" in late or part in late else ""


def family(analysis: Analysis, name: str, id_: str, title: str, caveat: str) -> Table:
    """One family of contrasts on totals."""
    pointer = under("contrasts", name)
    note = (
        f"{post_hoc(analysis, 'contrasts')}{capital(pick(analysis, pointer + '/question'))}; "
        f"adjusted within the family. {caveat}"
    )
    reason = pick(analysis, pointer + "/reason")
    return table(
        analysis,
        (id_, title),
        pointer + "/rows",
        contrast_columns(),
        note=note.strip(),
        empty=f"{capital(reason)}.",
    )


def contrast_columns(adjusted: tuple[str, str] = ("p, Holm", "p_adjusted")) -> list[Column[Any]]:
    """A contrast: each p beside its error term and degrees of freedom."""
    return [
        Column("Contrast", "label"),
        Column("Patients", "patients", text),
        Column("Difference", "estimate", signed),
        Column("Interval", ("low", "high"), interval_of),
        Column("SE", "se", two),
        Column("t", "t", two),
        Column("df", "df", _df),
        Column("p", "p", probability),
        Column(adjusted[0], adjusted[1], probability),
        Column("Error term", ("reason", "error_term", "method"), _method, below=True),
    ]


def _df(value: float | None) -> str:
    return DASH if value is None else one(value, 0 if float(value).is_integer() else 1)


def _method(reason: str | None, error_term: str | None, method: str | None) -> str:
    return capital(reason) or "; ".join(filter(None, [error_term, method]))


def _standardized(analysis: Analysis) -> Table:
    families = [
        row
        for name in ("primary", "secondary")
        for row in pick(analysis, under("contrasts", name, "rows"))
    ]
    note = (
        "d: the difference over the standard deviation of a session within an arm (patient, chain "
        "and session variance of the "
        "default model). REML: the same contrast from that model."
        if pick(analysis, "/models/default/status") == "fitted"
        else "d and REML need the default model, which is not fitted."
    )
    if any(row["pooled"] for row in families):
        note += " Pooled: with the error term of all arms, exact where all vary alike."
    columns: list[Column[Any]] = [
        Column("Contrast", "label"),
        Column("d", "d", two),
        Column("Interval of d", ("d_low", "d_high"), lambda low, high: interval_of(low, high, 2)),
        Column("REML", "reml", signed),
        Column("Pooled interval", ("pooled/low", "pooled/high"), _known_interval, optional=True),
        Column("df", "pooled/df", _df, optional=True),
        Column("p", "pooled/p", probability, optional=True),
    ]
    places = [
        under("contrasts", name, "rows", index)
        for name in ("primary", "secondary")
        for index in range(len(pick(analysis, under("contrasts", name, "rows"))))
    ]
    title = "Standardized effects, and the same contrasts by other error terms"
    return listed(
        analysis, ("t-standardized", title), places, columns, note=note, empty="No contrast."
    )


def _omnibus(analysis: Analysis) -> Table:
    note = "F takes the error term of all arms together and supposes that they vary alike"
    if any(row["hotelling"] for row in pick(analysis, "/tests")):
        note += (
            "; Hotelling's T squared on the patients' own contrasts supposes nothing of the "
            "kind and pays with degrees of freedom"
        )
    columns: list[Column[Any]] = [
        Column("Effect", "effect"),
        Column("F", "f", two),
        Column("df", ("df", "df_error"), _two_df),
        Column("p", "p", probability),
        Column("F of T\N{SUPERSCRIPT TWO}", "hotelling/f", two, optional=True),
        Column("df", ("hotelling/df", "hotelling/df_error"), _two_df, optional=True),
        Column("p", "hotelling/p", probability, optional=True),
        Column("Error term", ("reason", "error_term", "method"), _method, below=True),
    ]
    none = "There is one arm." if analysis["arms"] else "No arm."
    return table(
        analysis, ("t-omnibus", "Omnibus tests"), "/tests", columns, note=f"{note}.", empty=none
    )


def _known_interval(low: float | None, high: float | None) -> str:
    return DASH if low is None else interval_of(low, high)


def _two_df(first: float | None, second: float | None) -> str:
    return DASH if first is None else f"{_df(first)}, {_df(second)}"


def _policies(analysis: Analysis) -> list[Part]:
    """Only what differs from another way to count is explained, and only columns that are there."""
    known = pick(analysis, "/policies/missing")
    title = "The primary contrasts under each policy"
    if not known:
        return [Table("t-policies", title, empty="No contrast.")]
    shown = {
        name: column
        for name, column in POLICIES.items()
        if name != "heard" or _any(analysis, "heard", "left_out")
    }
    note = (
        f"{post_hoc(analysis, 'policies')}The headline is "
        f"{pick(analysis, '/policies/headline')}; differences with intervals."
    )
    rows = []
    for index in range(len(known)):
        cells = [cell(analysis, str, under("policies", "missing", index, "label"))]
        for policy in shown:
            base = under("policies", policy, index)
            cells.append(
                cell(analysis, _counted, *(f"{base}/{end}" for end in ("estimate", "low", "high")))
            )
            if policy in COUNTED:
                cells.append(cell(analysis, whole, f"{base}/{COUNTED[policy][0]}"))
        for policy in BOUNDS:
            base = under("policies", policy, index)
            cells.append(
                cell(analysis, _bound, *(f"{base}/{end}" for end in ("low", "high", "reason")))
            )
        cells.append(cell(analysis, percent, under("policies", "lee", index, "share")))
        without = [under("policies", policy, index, "reason") for policy in shown]
        why = [
            (shown[policy], pick(analysis, at), at)
            for policy, at in zip(shown, without, strict=True)
        ]
        said = " ".join(f"{title}: {reason.rstrip('.')}." for title, reason, _ in why if reason)
        rows.append(
            Row(cells, Cell(said, tuple(at for _, reason, at in why if reason)) if said else None)
        )
    titles_ = [
        title
        for policy in shown
        for title in (shown[policy], *([COUNTED[policy][1]] if policy in COUNTED else []))
    ]
    head = [(title, False) for title in ("Contrast", *titles_, *BOUNDS.values(), "Trimmed by Lee")]
    return [Text(_ways(analysis)), Table("t-policies", title, head, rows, note)]


def _any(analysis: Analysis, policy: str, count: str) -> bool:
    return any(row[count] for row in pick(analysis, under("policies", policy)))


def _ways(analysis: Analysis) -> str:
    said = [f"The headline counts unrated sessions as {analysis['settings']['unrated']}."]
    if _any(analysis, "lowest", "filled"):
        said.append(
            "Under lowest, a session that the chain lost (rejected, not reached, nothing to rate) "
            "gets the lowest total; a "
            "failure of the judge stays missing, and so does a session that the data do not hold."
        )
    else:
        said.append("No session was lost by its chain, so lowest says what missing says.")
    said.append(
        "Bounds say what any scores of the unrated sessions could make of the contrast; those "
        "after Lee hold for sessions that "
        "either arm would have left rated."
    )
    if _any(analysis, "unflagged", "left_out"):
        said.append(
            "Leaving out flagged sessions is a sensitivity analysis and no headline, since a flag "
            "is an outcome."
        )
    if _any(analysis, "heard", "left_out"):
        said.append(
            "Therapist heard: as the headline, without ratings of a text that holds no word of the "
            "therapist; they rate nobody."
        )
    return " ".join(said)


def _counted(estimate: float | None, low: float | None, high: float | None) -> str:
    if estimate is None:
        return "no estimate"
    return f"{signed(estimate)} ({'no interval' if low is None else interval_of(low, high)})"


def _bound(low: float | None, high: float | None, reason: str | None) -> str:
    return text(reason) if low is None else f"{signed(low)} to {signed(high)}"


def _covariate(analysis: Analysis) -> list[Part]:
    found = pick(analysis, "/covariates/0")
    title = "The number of words, which is not causal"
    note = (
        "A session's length comes after the arm: holding it fixed takes away part of what the arm "
        "does. The rows say how much of "
        "a contrast goes along with length, no more."
    )
    if found["reason"]:
        return [Table("t-words", title, note=note, empty=f"{capital(found['reason'])}.")]
    slope = (
        f"{signed(found['estimate'])} points (SE {two(found['se'])}) per standard deviation of "
        f"{one(found['sd_words'], 0)} "
        "words. "
    )
    columns: list[Column[Any]] = [
        Column("Contrast", "label"),
        Column("REML", "reml", signed),
        Column("With words held fixed", "words_held_fixed", signed),
    ]
    return [
        table(
            analysis,
            ("t-words", title),
            "/covariates/0/contrasts",
            columns,
            note=slope + note,
            empty="No contrast.",
        )
    ]


def _refitted(analysis: Analysis) -> list[Part]:
    if not pick(analysis, "/refitted"):
        return []
    columns: list[Column[Any]] = [
        Column("Contrast", "label"),
        Column("REML", "estimate", signed),
        Column("SE", "se", two),
        Column("Interval", ("low", "high"), interval_of),
        Column("p", "p", probability),
        Column("Error of p", "p_error", three),
        Column("Error of an end", "end_error", two),
    ]
    note = (
        f"The chain model refitted to each of {pick(analysis, '/refitted/draws')} simulated data "
        "sets without an effect. Errors: "
        "what other draws would make of these digits (a standard error)."
    )
    reason = pick(analysis, "/refitted/reason")
    return [
        table(
            analysis,
            ("t-refitted", "Refitting bootstrap"),
            "/refitted/rows",
            columns,
            note=note,
            empty=f"{capital(reason)}.",
        )
    ]


def _items(analysis: Analysis) -> Table:
    names = titles(analysis)
    columns = [
        Column("Item", "item", lambda item: names.get(item, text(item)), prose=True),
        *contrast_columns(("q", "q")),
    ]
    note = "False discovery rate over all items and contrasts (Benjamini and Hochberg)."
    reason = pick(analysis, "/contrasts/items/reason")
    return table(
        analysis,
        ("t-items", "Contrasts of every item"),
        "/contrasts/items/rows",
        columns,
        note=note,
        empty=f"{capital(reason)}.",
    )
