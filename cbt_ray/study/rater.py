"""Raters: who scores the sessions. A model that judges, people whose ratings are imported, or rules
that count in the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from cbt_ray.study.block import Block, Chars, Pattern, refuse_all, twice
from cbt_ray.study.endpoint import Role
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.probe import Probes

MOST_RULES = 200
Scales = Annotated[tuple[str, ...], Field(min_length=1)]
Views = Annotated[tuple[Literal["plain", "masked"], ...], Field(min_length=1)]
FlagName = Literal[
    "few_therapist_turns", "early_end", "repetition", "role_confusion", "template_leakage"
]
Speakers = Literal["therapist", "patient", "both"]


class Judge(Role):
    """A rater that is a model: where it is asked, with which scales, and how it rates."""

    kind: Literal["model"] = "model"
    """A rater that says nothing is a judge model."""
    model: str | None = None
    """A name under `models`; none: the endpoint's model as it is.

    With one, the rater is what the export makes, and its endpoint is `gguf: finetuned`.
    """
    tuned: bool = False
    """Trained on people's ratings; else the recipe's `compare`.

    `models.NAME.learns` says whose. It never rates a patient whose ratings it learned from.
    """
    scales: Scales = ("ctrs",)
    """Folders under prompts/ with a scale.yaml.

    With several, the names of items and measures follow their scale's: `miti.empathy`.
    """
    asked: Literal["together", "apart"] = "apart"
    """Several scales in one call, or a call for each."""
    replicates: int = Field(1, ge=0, le=1000)
    """Judgements of each session and view.

    With 0 it rates nothing, since ratings were imported.
    """
    items: Literal["together", "separately"] = "together"
    """One call for all items of a scale, or one an item."""
    views: Views = ("plain",)
    """What the judge sees; the first is the headline's.

    `plain`: the transcript. `masked`: without limits statement, markdown and template tokens.
    """
    strip: Literal["summary", "paper"] = "summary"
    """What is cut from a transcript before it is rated.

    `summary`: only the injected summary block. `paper`: the patient's first and the therapist's
    last turn.
    """
    justification_chars: Chars = (10, 600)
    """Characters of a justification, at least and at most."""
    probes: Probes = Probes()
    """Sessions spoilt on purpose, to see whether the judge reads."""

    @model_validator(mode="after")
    def _fits(self) -> Judge:
        refuse_all(_not_once(self.scales, self.views))
        if self.tuned and self.model is None:
            raise ValueError("model: expected the one under `models` that is tuned")
        if self.probes.which and self.replicates < 1:
            raise ValueError(
                "probes: expected `which: []`, since replicates is 0 and probes are compared "
                "with ordinary ratings"
            )
        return self

    @property
    def made(self) -> Checkpoint | None:
        """What the export makes for it; None where nothing."""
        return None if self.model is None else Checkpoint(self.model, self.tuned)


class People(Block):
    """A rater that is people: their ratings come by `cbt-ray import ratings --judge NAME`."""

    kind: Literal["people"]
    """Without it the rater is a model."""
    scales: Scales = ("ctrs",)
    """Folders under prompts/ with a scale.yaml."""
    views: Views = ("plain",)
    """What they are given to read.

    The first is the headline's, where they make it.
    """
    sessions: Literal["all", "some"] = "all"
    """Which sessions they rate.

    The analysis waits for `all` that were held, or for the first of `some`.
    """

    @model_validator(mode="after")
    def _fits(self) -> People:
        refuse_all(_not_once(self.scales, self.views))
        return self


class Rule(Block):
    """A number that is counted in a session's turns, or whether it has a flag."""

    title: str | None = Field(None, min_length=1, max_length=200)
    """How tables call it; none: its name."""
    count: (
        Literal["words", "turns", "questions", "matches", "missed", "entries", "quoted"] | None
    ) = None
    """What is counted.

    `questions`: turns that hold a question mark. `matches`: how often `regex` is found. `missed`:
    turns whose reply missed the therapist's form. `entries`: those of a list in replies that keep
    it. `quoted`: those of them whose `field` is a quotation of what the patient said before.
    """
    labels: Literal["precision", "recall", "f1", "same"] | None = None
    """How far a reply has the labels that the generator gave.

    It is in place of `count`: the values of `field`, from 0 to 1, with patients of `dataset.test`,
    whose cases the generator has labelled. `same`: 1 where they
    are the same labels, else 0.
    """
    field: str | None = None
    """Of `labels`, `entries` and `quoted`: a list's field in a form of JSON, as `part.field`."""
    of: Speakers = "therapist"
    """In whose turns."""
    regex: Pattern | None = None
    """Of `count: matches`; case does not count.

    One that takes more than half a second of a session is refused.
    """
    flag: FlagName | None = None
    """A flag.

    It is in place of `count`: 1 where the session has the flag, 0 where not.
    """
    share: bool = False
    """As a percentage.

    It is that of both speakers' words or turns; of the turns of `of` those that hold a question or
    a match, or missed the form; of entries those that are quoted. A share of nothing has no value.
    """

    @model_validator(mode="after")
    def _fits(self) -> Rule:
        refuse_all(self._problems())
        return self

    @property
    def of_list(self) -> bool:
        """Whether it looks at the list of a reply."""
        return self.labels is not None or self.count in ("entries", "quoted")

    @property
    def told(self) -> str:
        """What it counts, in words."""
        if self.flag is not None:
            return f"1 where the session has the flag {self.flag}, 0 where not"
        if self.labels is not None:
            how = "whether they are the same" if self.labels == "same" else self.labels
            return f"the labels in {self.field} against the generator's: {how}"
        what: str | None = self.count if self.regex is None else f"matches of {self.regex}"
        if self.field is not None:
            what = f"{self.count} in {self.field}"
        if self.count == "missed":
            what = "replies that missed the form"
        whose = "both speakers" if self.of == "both" else f"the {self.of}"
        return f"{what} of {whose}{', in percent' if self.share else ''}"

    def _problems(self) -> Iterator[str]:
        if sum(one is not None for one in (self.count, self.flag, self.labels)) != 1:
            yield "count: expected either a count, a flag or labels"
        if (self.field is not None) != self.of_list:
            yield "field: expected one with `labels`, `entries` and `quoted`, and none without"
        if (self.count == "matches") != (self.regex is not None):
            yield "regex: expected one with `count: matches` and none without"
        if self.share and (self.flag is not None or self.labels is not None):
            yield "share: expected none of a flag or of labels"
        if self.share and self.count == "entries":
            yield "share: expected none of entries, which are a part of nothing"
        if self.share and self.count in ("words", "turns") and self.of == "both":
            yield "share: expected the share of one speaker, since that of both is always 1"


RuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]


class Rulebook(Block):
    """A rater that is rules, and calls no model: each rule is a measure with a value a session."""

    kind: Literal["rule"]
    """Without it the rater is a model."""
    rules: Mapping[RuleName, Rule] = Field(min_length=1, max_length=MOST_RULES)
    """What is counted."""


def _not_once(scales: tuple[str, ...], views: tuple[str, ...]) -> Iterator[str]:
    for name, values in (("scales", scales), ("views", views)):
        if (again := twice(values)) is not None:
            yield f"{name}: expected each once, found {again!r} twice"


def kind(rater: Any) -> str | None:
    """Which kind of rater a block is; a model where it says nothing."""
    found = rater.get("kind", "model") if isinstance(rater, dict) else "model"
    found = getattr(rater, "kind", found)
    return found if isinstance(found, str) else None


Rater = Annotated[
    Annotated[Judge, Tag("model")]
    | Annotated[People, Tag("people")]
    | Annotated[Rulebook, Tag("rule")],
    Discriminator(kind),
]
