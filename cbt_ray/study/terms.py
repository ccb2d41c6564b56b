"""Terms of a licence as data: what it demands of a model tuned from its weights, and of one trained
on its outputs.

`licences.yaml` holds those that cbt-ray knows, each with where it was read; a study file adds its
own under `licences`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from cbt_ray.reading import read_fields
from cbt_ray.study.block import Block

_FILE = Path(__file__).with_name("licences.yaml")


class Duties(Block):
    """What a licence demands of whoever passes a model on."""

    name_begins: str | None = None
    """What the model's name must begin with."""
    display: tuple[str, ...] = ()
    """What must be displayed with the model."""
    notice: tuple[str, ...] = ()
    """Lines of a text file `Notice` that goes along."""
    licence_text: bool = False
    """A copy of the licence goes along."""
    state_changes: bool = False
    """Files must say that they were changed."""
    use_policy: str | None = None
    """Where to read the restrictions of use that are passed on."""
    non_commercial: bool = False
    """For research or other non-commercial use only."""


class Outputs(Duties):
    """What a licence says about training other models on what its model writes."""

    training: Literal["allowed", "demands", "forbidden"]
    """`demands`: allowed, with duties."""
    clause: str = ""
    """The words that say so, in short; a refusal quotes them."""


class Terms(Block):
    """The terms of one licence, as far as tuning is concerned. No legal advice."""

    also: tuple[str, ...] = ()
    """Other names that recipes and endpoints call it by.

    Case and punctuation never count.
    """
    hub: str | None = None
    """How Hugging Face's model cards call it; none: `other`."""
    link: str | None = None
    """Where its text lies."""
    derived: Duties | None = None
    """What it demands of models tuned from the weights.

    Without it the terms hand out no weights, and nothing may be tuned from them.
    """
    outputs: Outputs | None = None
    """What it demands of models trained on outputs.

    Without it that is not known, and nothing may be trained on them.
    """
    source: str = Field(min_length=1)
    """Which document and section says so."""
    read: Literal["text", "copy", "excerpt", "second_hand"]
    """How the source was read.

    `text`: at its author's. `copy`: as somebody else keeps it. `excerpt`: a part of it.
    `second_hand`: as others quote it.
    """


@cache
def shipped() -> Mapping[str, Terms]:
    """The terms that come with cbt-ray, by the licence's name."""
    return {name: Terms.model_validate(terms) for name, terms in read_fields(_FILE).items()}


def find(name: str, own: Mapping[str, Terms]) -> tuple[str, Terms] | None:
    """A licence by any of its names: the study's own terms first, so that they stand in for those
    that come with cbt-ray.
    """
    for known in (own, shipped()):
        for title, terms in known.items():
            if plain(name) in map(plain, (title, *terms.also)):
                return title, terms
    return None


def plain(name: str) -> str:
    """A licence's name without case, punctuation and the two ways to spell `licence`."""
    return re.sub(r"[^a-z0-9]", "", name.casefold().replace("licence", "license"))
