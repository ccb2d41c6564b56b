"""What is asked: contrasts, the pairs of arms that answer them, and how both are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.contrast import TUNING, Contrast, Levels, Pair, default_contrasts, pairs

TUNED = "tuned"
"""The level of an arm that was trained, where the derived factors tell."""
Arms = Mapping[str, Levels]
"""Arm -> its levels."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Keyed):
    """What a row says of the pair of arms that it compares."""

    contrast: str
    """Its name."""
    label: str
    """Unique in its table: one that several contrasts have says which it is of."""
    plus: str
    minus: str
    where: Levels
    """The levels that both arms share, of the factors that the contrast is held within."""


def asked(arms: Arms, settings: Settings) -> tuple[Contrast, ...]:
    """What is compared: what was declared, else what the arms suggest."""
    return default_contrasts(arms) if settings.contrasts is None else settings.contrasts


def settled(arms: Arms, settings: Settings) -> Settings:
    """The settings with what is asked of these arms written out."""
    return replace(settings, contrasts=asked(arms, settings))


def pairs_of(family: str, arms: Arms, settings: Settings) -> list[Pair]:
    """The pairs of arms that a family's contrasts compare, in the order of both."""
    return [
        pair
        for contrast in asked(arms, settings)
        if contrast.family == family
        for pair in pairs(contrast, arms)
    ]


def heads(of: Sequence[Pair]) -> list[Comparison]:
    """What rows say of these pairs."""
    known = Counter(pair.label for pair in of)
    return [
        Comparison(
            contrast=pair.contrast,
            label=pair.label if known[pair.label] == 1 else f"{pair.contrast}: {pair.label}",
            plus=pair.plus,
            minus=pair.minus,
            where=dict(pair.where),
        )
        for pair in of
    ]


def trained(arms: Arms, settings: Settings) -> set[str]:
    """The arms that are known to be trained."""
    return {arm for arm in arms if arm in settings.trained or arms[arm].get(TUNING) == TUNED}


def sides(contrast: Contrast) -> tuple[str, str]:
    """Both sides in a word or two: the levels in which they differ."""
    differs = differing(contrast)
    plus, minus = (
        " ".join(side[name] for name in differs) for side in (contrast.plus, contrast.minus)
    )
    return plus, minus


def differing(contrast: Contrast) -> list[str]:
    """The factors in which its sides differ."""
    return [name for name, level in contrast.plus.items() if contrast.minus[name] != level]


def question(contrast: Contrast, within: Sequence[str]) -> str:
    """`tuned - instruct, within each model`, or `llama - qwen, where variant is tuned`."""
    differs = differing(contrast)
    shared = [f"{name} is {level}" for name, level in contrast.plus.items() if name not in differs]
    where = f", where {' and '.join(shared)}" if shared else ""
    each = f", within each {' and '.join(within)}" if within else ""
    return " - ".join(sides(contrast)) + where + each
