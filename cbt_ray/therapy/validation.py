"""How well the flags agree with labels by reading: the record in validation.yaml, bound to the
rules that were compared.

80 published sessions were labelled by a language model that read each transcript, not by
clinicians. Codebook, figures and what they do not say: docs/flags.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from cbt_ray.count import many
from cbt_ray.therapy.language import FlagRules, Language
from cbt_ray.therapy.session import Session
from cbt_ray.unit import digest

ENOUGH = 0.8
"""Precision and recall from which a detector counts as validated."""
RULES = {
    "few_therapist_turns": ("few_therapist_turns",),
    "early_end": ("early_end",),
    "repetition": ("repetition", "repeated_run", "repeated_share"),
    "role_confusion": (
        *("role_confusion", "therapist_labels", "patient_labels", "patient_voice"),
        *("greetings", "signatures", "introductions"),
    ),
    "template_leakage": ("template_leakage", "therapist_labels", "patient_labels"),
}
"""What decides each flag: fields of the study file's `flags` block, and of its language's. The
therapist's name is whatever the prompts say."""
ENOUGH_WORDS = 20_000
"""Of an arm, to tell its language."""
_WORD = re.compile(r"[^\W\d_]+")
_RECORD = Path(__file__).with_name("validation.yaml")


@dataclass(frozen=True)
class Agreement:
    """A detector's answers against the labels, counted in sessions."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[bool, bool]]) -> Agreement:
        """From (labelled, flagged) of each session."""
        found = list(pairs)
        count = {
            pair: found.count(pair)
            for pair in ((True, True), (False, True), (True, False), (False, False))
        }
        return cls(count[True, True], count[False, True], count[True, False], count[False, False])

    @property
    def sessions(self) -> int:
        """All that were labelled."""
        return sum(vars(self).values())

    @property
    def positives(self) -> int:
        """Sessions that have the flag by the labels."""
        return self.true_positives + self.false_negatives

    @property
    def flagged(self) -> int:
        """Sessions that have the flag by the detector."""
        return self.true_positives + self.false_positives

    @property
    def precision(self) -> float | None:
        """Share of the flagged that are labelled so; None where none is flagged."""
        return self.true_positives / self.flagged if self.flagged else None

    @property
    def recall(self) -> float | None:
        """Share of the labelled that are flagged; None where none is labelled."""
        return self.true_positives / self.positives if self.positives else None


@dataclass(frozen=True)
class Record:
    """What the file holds for one flag: the rules compared (their digest), all labelled sessions,
    and the second patient's.
    """

    rules: str
    all: Agreement
    check: Agreement
    by_rule: Mapping[str, tuple[int, int]]
    """Rule -> labelled sessions in which it fired, and how many of these have the flag by the
    labels."""


@dataclass(frozen=True)
class DetectorFigures:
    """A detector on labelled sessions; intervals are Wilson's at 95 %."""

    n: int
    positives: int
    flagged: int
    precision: float | None
    precision_interval: tuple[float, float] | None
    recall: float | None
    recall_interval: tuple[float, float] | None


@dataclass(frozen=True)
class FiredRule:
    """A rule of a flag: where it fired in this study, and how often it was right in the
    labelled sessions.
    """

    rule: str
    sessions: int
    """Of this study."""
    fired: int | None = None
    """Labelled sessions."""
    right: int | None = None
    precision: float | None = None
    precision_interval: tuple[float, float] | None = None
    reason: str | None = None
    """Why it is not to be trusted."""


@dataclass(frozen=True)
class Detector:
    """Whether to trust what finds a flag."""

    flag: str
    status: Literal["validated", "unvalidated"]
    reason: str | None
    """Why it is not validated."""
    labelled: DetectorFigures | None
    """On all labelled sessions."""
    check: DetectorFigures | None
    """On the second patient's. Thresholds were set on the first's, yet it is no clean test
    (docs/flags.md)."""
    labelled_by: str
    rules: Sequence[FiredRule]


@dataclass(frozen=True)
class Labelled:
    """The language of the labelled sessions, and how it is known of others."""

    name: str
    words: frozenset[str]
    """Some of its commonest."""
    share: float
    """Of all words are these, at least, where a text is in this language."""


@lru_cache(maxsize=1)
def records() -> tuple[str, dict[str, Record]]:
    """Who labelled, and the record of each flag."""
    document = _document()
    held = {
        name: Record(
            entry["rules"],
            Agreement(**entry["all"]),
            Agreement(**entry["check"]),
            {rule: (fired, right) for rule, (fired, right) in entry["by_rule"].items()},
        )
        for name, entry in document["flags"].items()
    }
    return document["labelled_by"], held


def labelled() -> Labelled:
    """Of the labelled sessions."""
    held = _document()["language"]
    return Labelled(held["name"], frozenset(held["words"]), held["share"])


def _document() -> dict[str, Any]:
    import yaml

    document: dict[str, Any] = yaml.safe_load(_RECORD.read_text(encoding="utf-8"))
    return document


def foreign(said: Iterable[tuple[str, Session, object]], spoken: Language) -> str | None:
    """Why the figures say nothing of these sessions, by (arm, session, ...): the study's language,
    or their words, are not the labelled ones.

    None where they are, in every arm. A model may answer in another language than it was asked in,
    so the sessions are asked, too.
    """
    of, counts = labelled(), Counter[str]()
    if spoken.name != of.name:
        return f"measured on sessions in {of.name}, these are in {spoken.name}"
    common = Counter[str]()
    for arm, session, _ in said:
        if counts[arm] < ENOUGH_WORDS:
            words = [word for turn in session.turns for word in _WORD.findall(turn.text.casefold())]
            counts[arm] += len(words)
            common[arm] += sum(word in of.words for word in words)
    known = {arm: common[arm] / count for arm, count in counts.items() if count}
    if not known:
        return "no session was held whose language could be recognized"
    arm = min(known, key=lambda name: known[name])
    if known[arm] >= of.share:
        return None
    told = (
        f"{known[arm]:.0%} of the words of {arm} are among its commonest, expected at least "
        f"{of.share:.0%}"
    )
    return f"measured on sessions in {of.name}, which these are not: {told}"


def rules_digest(flag: str, rules: FlagRules) -> str:
    """What the rules of one flag are, in 16 hexadecimal digits."""
    values = rules.model_dump(mode="json")
    return digest({field: values[field] for field in RULES[flag]})


def doubt(flag: str, rules: FlagRules, unlike: str | None = None) -> str | None:
    """Why a flag under these rules is not validated, in a few words; None where it is.

    `unlike`: what `foreign` says.
    """
    record = records()[1].get(flag)
    if record is None:
        return "never compared with labels"
    if unlike:
        return unlike
    if record.rules != rules_digest(flag, rules):
        return (
            f"the study changes its rules ({', '.join(RULES[flag])}); the labels were "
            "compared with the defaults"
        )
    held = record.all
    if not held.positives:
        return f"none of the {many(held.sessions, 'labelled session')} has it"
    figures = (
        ("precision", held.precision),
        ("recall", held.recall),
    )  # no precision where none is flagged, but then recall is 0
    short = [
        f"{what} {value:.2f}" for what, value in figures if value is not None and value < ENOUGH
    ]
    return (
        f"{' and '.join(short)} on {many(held.sessions, 'labelled session')}, expected at least "
        f"{ENOUGH}"
        if short
        else None
    )


def detectors(
    rules: FlagRules,
    names: Iterable[str],
    found: Iterable[Mapping[str, Sequence[str]]] = (),
    unlike: str | None = None,
) -> list[Detector]:
    """For each flag whether to trust it, with the figures of the labelled sessions.

    `rules` are those that fired in the labelled sessions or in this study's: `found` are its
    sessions' flags with their rules. Where the study file changes a flag's rules, nothing was
    labelled, or the sessions are `unlike` the labelled ones, there are no figures.
    """
    labelled_by, held = records()
    counts = Counter(
        (flag, rule) for session in found for flag, fired in session.items() for rule in fired
    )
    return [_detector(name, rules, labelled_by, held.get(name), counts, unlike) for name in names]


def _detector(
    name: str,
    rules: FlagRules,
    labelled_by: str,
    record: Record | None,
    counts: Mapping[tuple[str, str], int],
    unlike: str | None,
) -> Detector:
    why = doubt(name, rules, unlike)
    if unlike is not None or record is None or record.rules != rules_digest(name, rules):
        record = None
    known = record.by_rule if record else {}
    fired = dict.fromkeys([*known, *(rule for flag, rule in counts if flag == name)])
    return Detector(
        flag=name,
        status="unvalidated" if why else "validated",
        reason=why,
        labelled=_figures(record.all) if record else None,
        check=_figures(record.check) if record else None,
        labelled_by=labelled_by,
        rules=[
            _rule(rule, counts.get((name, rule), 0), known.get(rule, (0, 0)), known=bool(record))
            for rule in fired
        ],
    )


def _rule(rule: str, sessions: int, labelled: tuple[int, int], *, known: bool) -> FiredRule:
    if not known:
        return FiredRule(rule, sessions, reason="no figures for this study")
    fired, right = labelled
    share = right / fired if fired else None
    why = (
        "it fired in no labelled session"
        if share is None
        else None
        if share >= ENOUGH
        else f"expected at least {ENOUGH}"
    )
    return FiredRule(rule, sessions, fired, right, share, _wilson(right, fired), why)


def _figures(held: Agreement) -> DetectorFigures:
    return DetectorFigures(
        n=held.sessions,
        positives=held.positives,
        flagged=held.flagged,
        precision=held.precision,
        precision_interval=_wilson(held.true_positives, held.flagged),
        recall=held.recall,
        recall_interval=_wilson(held.true_positives, held.positives),
    )


def _wilson(hits: int, of: int) -> tuple[float, float] | None:
    if not of:
        return None
    from scipy.stats import binomtest

    interval = binomtest(hits, of).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
