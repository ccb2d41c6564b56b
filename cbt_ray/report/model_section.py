"""Section "Mixed models": the default one and the published one, with what their fits were like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.asked import differing
from cbt_ray.report import model_figures
from cbt_ray.report.figure import asked
from cbt_ray.report.part import Fold, Heading, Part, Section, Text
from cbt_ray.report.prose import capital, interval_of, one, probability, three, yes
from cbt_ray.report.table import Cell, Column, Row, Table, cell, pick, table, under

FACTS = {
    "log_likelihood": ("Log-likelihood", 4),
    "aic": ("AIC", 3),
    "bic": ("BIC", 3),
    "scale": ("Scale (session variance)", 4),
    "patient_variance": ("Patient variance", 3),
    "explained_variance": ("Explained variance", 3),
    "explained_variance_fixed": ("Explained variance, fixed effects alone", 3),
}
DEFAULT_FACTS = {
    "log_likelihood": ("Log-likelihood by REML", 4),
    "variances/patient": ("Variance of patients", 3),
    "variances/chain": ("Variance of chains", 3),
    "variances/session": ("Variance of sessions", 3),
    "ml/log_likelihood": ("Log-likelihood by ML", 4),
    "ml/aic": ("AIC by ML", 3),
    "ml/bic": ("BIC by ML", 3),
}


def models(analysis: Analysis) -> Section:
    """The section."""
    parts: list[Part] = [
        *_default(analysis),
        model_figures.residuals(analysis, "default"),
        *_published(analysis),
    ]
    return Section("models", "Mixed models", parts)


def _default(analysis: Analysis) -> list[Part]:
    model = pick(analysis, "/models/default")
    head: list[Part] = [
        Heading("The default model"),
        Text(f"{model['formula']}, {model['method']}."),
    ]
    if model["status"] != "fitted":
        return [*head, Text(f"Not fitted: {model['reason']}.", "empty"), *_fit(analysis, "default")]
    columns: list[Column[Any]] = [
        Column("Term", "term"),
        Column("Estimate", "estimate", three),
        Column("SE", "se", three),
    ]
    reference = ", ".join(f"{name} {level}" for name, level in model["reference"].items())
    note = (
        f"{model['n']} sessions of {model['chains']} chains and {model['patients']} patients; "
        f"reference levels: {reference}. Its "
        "error term is the chain. It prints no p per term: contrasts have their own."
    )
    terms = table(
        analysis,
        ("t-default", "Fixed effects of the default model"),
        "/models/default/terms",
        columns,
        note=note,
    )
    return [
        *head,
        terms,
        _facts(analysis, "default"),
        _ratios(analysis),
        *_fit(analysis, "default"),
    ]


def _ratios(analysis: Analysis) -> Table:
    note = "By ML, since REML likelihoods of different fixed effects cannot be compared."
    rows = []
    for name in ("interaction", "chain"):
        base = under("models", "default", "ml", name)
        if found := pick(analysis, base):
            title = found.get("effect") or "variance of chains"
            fields = (("chi2", three), ("df", str), ("p", probability), ("reference", capital))
            rows.append(
                Row(
                    [
                        Cell(title),
                        *(cell(analysis, show, f"{base}/{field}") for field, show in fields),
                    ]
                )
            )
    head = [
        ("Without", False),
        ("\N{GREEK SMALL LETTER CHI}\N{SUPERSCRIPT TWO}", False),
        ("df", False),
        ("p", False),
        ("Against", True),
    ]
    return Table(
        "t-ratios", "Likelihood ratios", head, rows, note, "" if rows else "None could be computed."
    )


def _facts(analysis: Analysis, name: str) -> Table:
    rows = []
    for field, (title, digits) in (DEFAULT_FACTS if name == "default" else FACTS).items():
        pointer = f"/models/{name}/{field}"
        if pick(analysis, pointer) is not None:
            rows.append(
                Row(
                    [
                        Cell(title),
                        cell(analysis, lambda value, digits=digits: one(value, digits), pointer),
                    ]
                )
            )
    return Table(
        f"t-facts-{name}",
        f"The {name} model's fit",
        [("", False), ("Value", False)],
        rows,
        empty="" if rows else "None.",
    )


def _published(analysis: Analysis) -> list[Part]:
    parts: list[Part] = [Heading("The published model")]
    for name in ("published", "reduced"):
        model = pick(analysis, f"/models/{name}")
        if not model:
            continue
        parts.append(
            Text(
                f"{capital(name)}: {model['formula']}, maximum likelihood. "
                f"{_dropped(model)}".strip()
            )
        )
        if model["status"] != "fitted":
            parts.append(Text(f"Not fitted: {model['reason']}.", "empty"))
        else:
            parts += [_terms(analysis, name), _facts(analysis, name)]
        parts += _fit(analysis, name)
        if model["status"] == "fitted":
            parts.append(Fold("Its residuals", [model_figures.residuals(analysis, name)]))
    return parts


def _dropped(model: Mapping[str, Any]) -> str:
    return " ".join(f"Left out: {one_of}." for one_of in model["dropped"])


def _terms(analysis: Analysis, name: str) -> Table:
    model = pick(analysis, f"/models/{name}")
    columns: list[Column[Any]] = [
        Column("Term", "term"),
        Column("Estimate", "estimate", three),
        Column("SE", "se", three),
        Column("z", "z", three),
        Column("p", "p", three),
        Column("p, Bonferroni", "p_bonferroni", three, optional=True),
        Column("Interval", ("low", "high"), lambda low, high: interval_of(low, high, 3)),
    ]
    note = f"{model['n']} sessions, {model['groups']} patients. {model['caveat']}"
    reversed_ = [
        name
        for one in asked(analysis)[:1]
        for name in differing(one)
        if model["reference"].get(name) == one.plus[name]
    ]
    if reversed_:
        note += (
            " Its reference level is the first side of the contrast, as published, so the sign of "
            f"{' and '.join(reversed_)} is the reverse of the contrasts'."
        )
    return table(
        analysis,
        (f"t-{name}", f"Fixed effects of the {name} model"),
        f"/models/{name}/terms",
        columns,
        note=note,
    )


def _fit(analysis: Analysis, name: str) -> list[Part]:
    """What was wrong with it, and every optimiser that was tried."""
    model = pick(analysis, f"/models/{name}")
    parts: list[Part] = [Text(f"{capital(problem)}.", "problem") for problem in model["problems"]]
    if not model["ladder"]:
        return parts
    columns: list[Column[Any]] = [
        Column("Optimiser", "optimiser"),
        Column("Start", "start"),
        Column("Log-likelihood", "log_likelihood", lambda value: one(value, 4)),
        Column("Converged", "converged", yes),
        Column("Warnings", "warnings", "; ".join, below=True),
    ]
    tried = table(
        analysis,
        (f"t-ladder-{name}", f"Optimisers tried on the {name} model"),
        f"/models/{name}/ladder",
        columns,
    )
    return [*parts, Fold(f"Optimisers tried ({len(model['ladder'])})", [tried])]
