"""How well the flags agree with labels by reading: the record in validation.yaml, bound to the rules that were compared.

80 published sessions were labelled by a language model that read each transcript, not by clinicians. Codebook, figures and what
they do not say: docs/flags.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cbt_ray.study.protocol import Flags
from cbt_ray.unit import digest

ENOUGH = 0.8
"""Precision and recall from which a detector counts as validated."""
RULES = {
    "few_therapist_turns": ("few_therapist_turns",),
    "early_end": ("early_end",),
    "repetition": ("repetition", "repeated_run", "repeated_share"),
    "role_confusion": ("role_confusion", "therapist_labels", "patient_labels", "patient_voice"),
    "template_leakage": ("template_leakage", "therapist_labels", "patient_labels"),
}
"""The fields of the study file's `flags` block that decide each flag. The therapist's name is whatever the prompts say."""
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
        count = {pair: found.count(pair) for pair in ((True, True), (False, True), (True, False), (False, False))}
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
    """What the file holds for one flag: the rules compared (their digest), all labelled sessions, and the second patient's."""

    rules: str
    all: Agreement
    check: Agreement


@lru_cache(maxsize=1)
def records() -> tuple[str, dict[str, Record]]:
    """Who labelled, and the record of each flag."""
    import yaml

    document = yaml.safe_load(_RECORD.read_text(encoding="utf-8"))
    held = {
        name: Record(entry["rules"], Agreement(**entry["all"]), Agreement(**entry["check"]))
        for name, entry in document["flags"].items()
    }
    return document["labelled_by"], held


def rules_digest(flag: str, rules: Flags) -> str:
    """What the rules of one flag are, in 16 hexadecimal digits."""
    values = rules.model_dump(mode="json")
    return digest({field: values[field] for field in RULES[flag]})


def doubt(flag: str, rules: Flags) -> str | None:
    """Why a flag under these rules is not validated, in a few words; None where it is."""
    record = records()[1].get(flag)
    if record is None:
        return "never compared with labels"
    if record.rules != rules_digest(flag, rules):
        return f"the study file changes its rules ({', '.join(RULES[flag])}); the labels were compared with the defaults"
    held = record.all
    if not held.positives:
        return f"none of the {held.sessions} labelled sessions has it"
    figures = (("precision", held.precision), ("recall", held.recall))  # no precision where none is flagged, but then recall is 0
    short = [f"{what} {value:.2f}" for what, value in figures if value is not None and value < ENOUGH]
    return f"{' and '.join(short)} on {held.sessions} labelled sessions, expected at least {ENOUGH}" if short else None


def validated(flag: str, rules: Flags | None = None) -> bool:
    """Whether precision and recall both reach ENOUGH under these rules (the defaults where none are given)."""
    return doubt(flag, rules or Flags()) is None


def detectors(rules: Flags, names: Iterable[str]) -> list[dict[str, Any]]:
    """The key `detectors` of analysis.json: for each flag whether to trust it, with the figures of the labelled sessions.

    Intervals are Wilson's at 95 %. `check` are the second patient's sessions; thresholds were set on the first's, yet it is no
    clean test (docs/flags.md). Where the study file changes a flag's rules, or nothing was labelled, all figures are None.
    """
    labelled_by, held = records()
    return [_detector(name, rules, labelled_by, held.get(name)) for name in names]


def _detector(name: str, rules: Flags, labelled_by: str, record: Record | None) -> dict[str, Any]:
    why = doubt(name, rules)
    applies = record is not None and record.rules == rules_digest(name, rules)
    figures = _figures(record.all if record and applies else None)
    check = _figures(record.check) if record and applies else None
    status = "unvalidated" if why else "validated"
    return {"flag": name, "status": status, "reason": why, **figures, "check": check, "labelled_by": labelled_by}


def _figures(held: Agreement | None) -> dict[str, Any]:
    if held is None:
        names = ("n", "positives", "flagged", "precision", "precision_interval", "recall", "recall_interval")
        return dict.fromkeys(names)
    return {
        "n": held.sessions,
        "positives": held.positives,
        "flagged": held.flagged,
        "precision": held.precision,
        "precision_interval": _wilson(held.true_positives, held.flagged),
        "recall": held.recall,
        "recall_interval": _wilson(held.true_positives, held.positives),
    }


def _wilson(hits: int, of: int) -> list[float] | None:
    if not of:
        return None
    from scipy.stats import binomtest

    interval = binomtest(hits, of).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]
