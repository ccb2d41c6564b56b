"""Section "Scale": ends, consistency, halo, and the answer by ranks."""

from __future__ import annotations

from collections.abc import Callable

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.friedman import Friedman
from cbt_ray.analysis.effect.ranks import RankContrast, Superiority
from cbt_ray.analysis.effect.signed_ranks import HodgesLehmann
from cbt_ray.analysis.scale.consistency import Consistency, ItemAdds, Omega
from cbt_ray.analysis.scale.scale import CROWDED, ItemEnds, Shape
from cbt_ray.report.at import At
from cbt_ray.report.figure import NOTHING, Figure, titles
from cbt_ray.report.part import Fold, Part, Section
from cbt_ray.report.prose import (
    DASH,
    capital,
    estimate,
    interval_of,
    one,
    percent,
    probability,
    signed,
    span,
    text,
    two,
    whole,
    why,
)
from cbt_ray.report.svg import grid
from cbt_ray.report.table import Column, Table, column, tabulate


def scale(analysis: Analysis) -> Section:
    """Ends, consistency, halo, ranks."""
    everything = At(analysis)
    parts: list[Part] = [
        ends(analysis),
        _consistency(everything),
        Fold("What each item adds", [_item(everything)]),
        _halo(everything),
        *_ranks(everything),
    ]
    return Section("scale", "Scale", parts)


def ends(analysis: Analysis) -> Figure:
    """Share of ratings at the lowest and the highest score that the judge ever used."""
    title = "Share of ratings at the ends of each item"
    caption = "Ends are the lowest and the highest score that the judge gave."
    found = [row for row in analysis.scale.ends if row.n]
    if any(row.flagged for row in found):
        caption += " Above one half (marked !) an item no longer tells good from better."
    if not found:
        return Figure("ends", title, caption, empty=NOTHING)
    names = titles(analysis)
    cells = {
        (row, place): cell
        for row, item in enumerate(found)
        for place, cell in enumerate(_ends(item))
    }
    columns = ["at lowest", "at highest", "lowest", "highest"]
    drawn = grid(title, [names[row.item] for row in found], columns, cells)
    return Figure("ends", title, caption, [drawn])


def _ends(row: ItemEnds) -> list[tuple[float, str]]:
    shares = [share or 0.0 for share in (row.at_observed_min, row.at_observed_max)]
    marked = [(share, percent(share) + " !" * (share > CROWDED)) for share in shares]
    return [*marked, *((0.0, f"{end:g}") for end in (row.observed_min, row.observed_max))]


def _consistency(everything: At[Analysis]) -> Table:
    columns: list[Column[Consistency]] = [
        column("n", whole, lambda row: row.n),
        column("alpha", estimate, lambda row: row.alpha),
        column("Interval for independent rows", span, lambda row: row.feldt),
        column("omega", _omega, lambda row: row.omega),
        column("What the rows are", text, lambda row: row.note, below=True),
    ]
    rows = {
        "sessions": everything.of(lambda all_: all_.scale.consistency.sessions),
        "chains": everything.of(lambda all_: all_.scale.consistency.chains),
    }
    return tabulate(
        ("t-consistency", "Internal consistency"),
        list(rows.values()),
        columns,
        note="Does the scale measure one thing.",
        names=list(rows),
    )


def _omega(found: Omega | None) -> str:
    if found is None or found.value is None:
        return capital(found.reason if found else None) or DASH
    return two(found.value)


def _item(everything: At[Analysis]) -> Table:
    names = titles(everything.value)
    columns: list[Column[ItemAdds]] = [
        column("Item", lambda item: names.get(item, item), lambda row: row.item, prose=True),
        column("Correlation with the others", two, lambda row: row.corrected_r),
        column("alpha without it", two, lambda row: row.alpha_if_deleted),
    ]
    rows = everything.each(lambda all_: all_.scale.consistency.sessions.items)
    return tabulate(("t-item-rest", "What each item adds, over sessions"), rows, columns)


def _halo(everything: At[Analysis]) -> Table:
    columns: list[Column[Shape]] = [
        column("Ratings", whole, lambda row: row.n),
        column(
            "One score on all items", _alike, lambda row: row.alike, lambda row: row.share_alike
        ),
        column("Mean correlation of items within arms", two, lambda row: row.mean_correlation),
        column("Share of the first component", percent, lambda row: row.first_eigenvalue_share),
        column("SD of items within a rating", two, lambda row: row.within_rating_sd),
    ]
    every: dict[str, Callable[[Analysis], Shape | None]] = {
        "headline": lambda all_: all_.scale.halo.headline,
        "same sessions, as usual": lambda all_: all_.scale.halo.usual,
        "the other way": lambda all_: all_.scale.halo.other,
    }
    rows = {
        name: At(found.value, found.pointer)
        for name, read in every.items()
        if (found := everything.of(read)).value is not None
    }
    note = "Does the judge rate items, or one impression over and over."
    if everything.value.scale.halo.other:
        note += " The other way: items rated one at a time instead of together, or the reverse."
    return tabulate(("t-halo", "Halo"), list(rows.values()), columns, note=note, names=list(rows))


def _alike(count: int | None, share: float | None) -> str:
    return DASH if count is None else f"{count} ({percent(share)})"


def _ranks(everything: At[Analysis]) -> list[Part]:
    columns: list[Column[RankContrast]] = [
        column("Contrast", text, lambda row: row.label),
        column("Patients", whole, lambda row: row.patients),
        column("Signed ranks", one, lambda row: row.signed_rank),
        column("p", probability, lambda row: row.p),
        column("p, Holm", probability, lambda row: row.p_adjusted),
        column("p of plain differences", probability, lambda row: row.p_differences),
        column("Hodges-Lehmann", _located, lambda row: row.hodges_lehmann),
        column("Superiority", _superior, lambda row: row.superiority),
        column(
            "What it cannot say",
            _limits,
            lambda row: row.note,
            lambda row: row.reason,
            lambda row: row.hodges_lehmann.reason,
            below=True,
        ),
    ]
    found = everything.value.scale.ranks
    fields: list[Column[Friedman]] = [
        column("Statistic", two, lambda test: test.statistic),
        column("df", text, lambda test: test.df),
        column("p", probability, lambda test: test.p),
        column("Kendall's W", two, lambda test: test.w),
        column("Patients", text, lambda test: test.patients),
        column("Why there is none", capital, lambda test: test.reason, below=True),
    ]
    friedman = everything.of(lambda all_: all_.scale.ranks.friedman)
    return [
        tabulate(
            ("t-ranks", "The primary contrasts by ranks"),
            everything.each(lambda all_: all_.scale.ranks.rows),
            columns,
            note=f"{capital(found.method)}. Superiority: the probability that a treated session "
            "scores higher with the same patient.",
            empty=why(found.reason),
        ),
        tabulate(("t-friedman", "Friedman's test over all arms"), [friedman], fields),
    ]


def _located(found: HodgesLehmann) -> str:
    if found.value is None or found.low is None:
        return signed(found.value)
    return f"{signed(found.value)} ({interval_of(found.low, found.high)})"


def _superior(found: Superiority) -> str:
    if found.value is None or found.low is None:
        return two(found.value)
    return f"{two(found.value)} ({interval_of(found.low, found.high, 2)})"


def _limits(*reasons_: str | None) -> str:
    return " ".join(f"{capital(reason).rstrip('.')}." for reason in reasons_ if reason)
