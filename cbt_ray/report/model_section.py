"""Section "Mixed models": the default one and the published one, with what their fits were like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.asked import differing
from cbt_ray.analysis.model.chain_model import ChainModel, Coefficient, LikelihoodRatio
from cbt_ray.analysis.model.ladder import Optimisation
from cbt_ray.analysis.model.mixed import PublishedModel, PublishedTerm
from cbt_ray.analysis.model.result import MixedModel
from cbt_ray.report.at import At
from cbt_ray.report.figure import Figure, asked
from cbt_ray.report.part import Fold, Heading, Part, Section, Text
from cbt_ray.report.prose import capital, counted, interval_of, one, probability, three, yes
from cbt_ray.report.svg import Scale, axis_x, axis_y, cloud, drawing, line, nice
from cbt_ray.report.table import Cell, Column, Row, Table, column, shown, tabulate
from cbt_ray.study.contrast import Contrast

M = TypeVar("M", bound=MixedModel)
Points = Sequence[tuple[float, float]]


def models(analysis: Analysis) -> Section:
    """The section."""
    found, first = At(analysis).of(lambda it: it.models), asked(analysis)[:1]
    either = [found.of(lambda it: it.published), *found.of(lambda it: it.reduced).known()]
    parts = [
        *_not_scores(analysis),
        *_default(found.of(lambda it: it.default)),
        Heading("The published model"),
        *(part for model in either for part in _published(model, first)),
    ]
    return Section("models", "Mixed models", parts)


def _not_scores(analysis: Analysis) -> list[Part]:
    kind = analysis.settings.kind
    said = f"The models treat the total, which is a {kind}, as a score: its contrasts do not."
    return [] if kind == "score" else [Text(said)]


def _default(found: At[ChainModel]) -> list[Part]:
    model = found.value
    head: list[Part] = [
        Heading("The default model"),
        Text(f"{model.formula}, {model.method}."),
    ]
    drawn = residual_plots(model)
    if model.status != "fitted":
        return [*head, Text(f"Not fitted: {model.reason}.", "empty"), *_fit(found), drawn]
    columns: list[Column[Coefficient]] = [
        column("Term", str, lambda row: row.term),
        column("Estimate", three, lambda row: row.estimate),
        column("SE", three, lambda row: row.se),
    ]
    reference = ", ".join(f"{name} {level}" for name, level in model.reference.items())
    note = (
        f"{counted(model.n, 'session')} of {counted(model.chains, 'chain')} and "
        f"{counted(model.patients, 'patient')}; reference levels: {reference}. Its error term is "
        "the chain. It prints no p per term: contrasts have their own."
    )
    place, rows = _terms_of(model), found.each(lambda it: it.terms)
    terms = tabulate(place, rows, columns, note=note)
    return [*head, terms, _default_facts(found), _ratios(found), *_fit(found), drawn]


def _terms_of(model: MixedModel) -> tuple[str, str]:
    return f"t-{model.name}", f"Fixed effects of the {model.name} model"


def _ratios(model: At[ChainModel]) -> Table:
    rows = [
        *model.of(lambda it: it.ml.interaction if it.ml else None).known(),
        *model.of(lambda it: it.ml.chain if it.ml else None).known(),
    ]
    columns: list[Column[LikelihoodRatio]] = [
        column("Without", str, lambda row: row.effect),
        column("\N{GREEK SMALL LETTER CHI}\N{SUPERSCRIPT TWO}", three, lambda row: row.chi2),
        column("df", str, lambda row: row.df),
        column("p", probability, lambda row: row.p),
        column("Against", capital, lambda row: row.reference, prose=True),
    ]
    note = "By ML, since REML likelihoods of different fixed effects cannot be compared."
    place, none = ("t-ratios", "Likelihood ratios"), "None could be computed."
    return tabulate(place, rows, columns, note=note, empty=none)


def _default_facts(model: At[ChainModel]) -> Table:
    of = model.of
    return _facts(
        model.value.name,
        [
            ("Log-likelihood by REML", of(lambda it: it.log_likelihood), 4),
            ("Variance of patients", of(_variance("patient")), 3),
            ("Variance of chains", of(_variance("chain")), 3),
            ("Variance of sessions", of(_variance("session")), 3),
            ("Log-likelihood by ML", of(lambda it: it.ml.log_likelihood if it.ml else None), 4),
            ("AIC by ML", of(lambda it: it.ml.aic if it.ml else None), 3),
            ("BIC by ML", of(lambda it: it.ml.bic if it.ml else None), 3),
        ],
    )


def _variance(of: str) -> Callable[[ChainModel], float | None]:
    return lambda it: it.variances[of] if it.variances else None


def _published_facts(model: At[PublishedModel]) -> Table:
    of = model.of
    return _facts(
        model.value.name,
        [
            ("Log-likelihood", of(lambda it: it.log_likelihood), 4),
            ("AIC", of(lambda it: it.aic), 3),
            ("BIC", of(lambda it: it.bic), 3),
            ("Scale (session variance)", of(lambda it: it.scale), 4),
            ("Patient variance", of(lambda it: it.patient_variance), 3),
            ("Explained variance", of(lambda it: it.explained_variance), 3),
            (
                "Explained variance, fixed effects alone",
                of(lambda it: it.explained_variance_fixed),
                3,
            ),
        ],
    )


def _facts(name: str, facts: Sequence[tuple[str, At[float | None], int]]) -> Table:
    """A row each, with so many decimals."""
    rows = [
        Row([Cell(title), shown(partial(one, digits=digits), found)])
        for title, fact, digits in facts
        for found in fact.known()
    ]
    head = [("", False), ("Value", False)]
    empty = "" if rows else "None."
    return Table(f"t-facts-{name}", f"The {name} model's fit", head, rows, empty=empty)


def _published(found: At[PublishedModel], asked_: Sequence[Contrast]) -> list[Part]:
    model = found.value
    dropped = " ".join(f"Left out: {one_of}." for one_of in model.dropped)
    said = f"{capital(model.name)}: {model.formula}, maximum likelihood. {dropped}".strip()
    if model.status != "fitted":
        return [Text(said), Text(f"Not fitted: {model.reason}.", "empty"), *_fit(found)]
    drawn = Fold("Its residuals", [residual_plots(model)])
    return [Text(said), _terms(found, asked_), _published_facts(found), *_fit(found), drawn]


def _terms(found: At[PublishedModel], first: Sequence[Contrast]) -> Table:
    model = found.value
    columns: list[Column[PublishedTerm]] = [
        column("Term", str, lambda row: row.term),
        column("Estimate", three, lambda row: row.estimate),
        column("SE", three, lambda row: row.se),
        column("z", three, lambda row: row.z),
        column("p", three, lambda row: row.p),
        column("p, Bonferroni", three, lambda row: row.p_bonferroni, optional=True),
        column("Interval", _interval, lambda row: row.low, lambda row: row.high),
    ]
    note = f"{counted(model.n, 'session')}, {counted(model.groups, 'patient')}. {model.caveat}"
    reversed_ = [
        name
        for contrast in first
        for name in differing(contrast)
        if model.reference.get(name) == contrast.plus[name]
    ]
    if reversed_:
        note += (
            " Its reference level is the first side of the contrast, as published, so the sign of "
            f"{' and '.join(reversed_)} is the reverse of the contrasts'."
        )
    return tabulate(_terms_of(model), found.each(lambda it: it.terms), columns, note=note)


def _interval(low: float | None, high: float | None) -> str:
    return interval_of(low, high, 3)


def _fit(found: At[M]) -> list[Part]:
    """What was wrong with it, and every optimiser that was tried."""
    model = found.value
    parts: list[Part] = [Text(f"{capital(problem)}.", "problem") for problem in model.problems]
    if not model.ladder:
        return parts
    columns: list[Column[Optimisation]] = [
        column("Optimiser", str, lambda row: row.optimiser),
        column("Start", str, lambda row: row.start),
        column("Log-likelihood", partial(one, digits=4), lambda row: row.log_likelihood),
        column("Converged", yes, lambda row: row.converged),
        column("Warnings", "; ".join, lambda row: row.warnings, below=True),
    ]
    place = (f"t-ladder-{model.name}", f"Optimisers tried on the {model.name} model")
    tried = tabulate(place, found.each(lambda it: it.ladder), columns)
    return [*parts, Fold(f"Optimisers tried ({len(model.ladder)})", [tried])]


def residual_plots(model: MixedModel) -> Figure:
    """Standardized residuals of one mixed model against normal quantiles, and against fitted
    values.
    """
    id_, title = f"residuals-{model.name}", f"Residuals of the {model.name} mixed model"
    if model.status != "fitted":
        none = f"Not drawn: the model is not fitted ({model.reason})."
        return Figure(id_, title, "", empty=none)
    drawn, total = model.residuals_shown
    caption = (
        "Left: Q-Q plot against the normal distribution. Right: standardized residuals "
        f"over fitted values. {model.formula}"
    )
    caption += f"; {drawn} of {total} points." if drawn < total else "."
    low = min(min(point) for point in model.qq)
    high = max(max(point) for point in model.qq)
    diagonal = [(low, low), (high, high)]
    residual = "standardized residual"
    fitted = ("fitted total", residual)
    panels = [
        _scatter(model.qq, "Q-Q plot", ("normal quantile", residual), diagonal),
        _scatter(model.residuals, "Residuals over fitted values", fitted, None),
    ]
    return Figure(id_, title, caption, panels)


def _scatter(points: Points, title: str, names: tuple[str, str], rule: Points | None) -> Markup:
    x_ticks = nice(min(p[0] for p in points), max(p[0] for p in points), 5)
    y_ticks = nice(min(p[1] for p in points), max(p[1] for p in points), 5)
    x, y = Scale(x_ticks[0], x_ticks[-1], 38, 328), Scale(y_ticks[0], y_ticks[-1], 232, 28)
    parts = [axis_x(x, x_ticks, 232, 28, names[0]), axis_y(y, y_ticks, 34, 328, names[1])]
    if rule is None:
        parts.append(line(38, y(0), 328, y(0), "zero"))
    else:
        start, end = (
            max(x_ticks[0], y_ticks[0], rule[0][0]),
            min(x_ticks[-1], y_ticks[-1], rule[1][0]),
        )
        parts.append(line(x(start), y(start), x(end), y(end), "zero"))
    parts.append(
        cloud(
            [(x(a), y(b)) for a, b in points], "cloud s0" if len(points) < 100 else "cloud small s0"
        )
    )
    return drawing(340, 270, title, *parts)
