"""Whose voice a turn is in: labels inside a turn, a speaker that addresses itself by name, words
that only a patient says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cbt_ray.therapy.language import FlagRules
from cbt_ray.therapy.session import Speaker

_QUOTED = re.compile(
    '"[^"\n]*"|\u201e[^\u201c\n]*\u201c|\u201c[^\u201d\n]*\u201d|\u2018[^\u2019\n]*\u2019'
    "|\u00ab[^\u00bb\n]*\u00bb|\u00bb[^\u00ab\n]*\u00ab|\u300c[^\u300d\n]*\u300d"
)
"""Marks of several languages, those of German before the English that end with what they begin
with."""
_LISTED = re.compile(r"(?m)^\s*(?:[-*+•]|\d+[.)])\s.*$")


@dataclass(frozen=True)
class Voices:
    """The patterns of one patient's sessions; made by `voices`.

    Plain words are looked for first: they are cheap, patterns are not.
    """

    labels: dict[Speaker, re.Pattern[str]]
    names: dict[Speaker, tuple[str, ...]]
    addressed: dict[Speaker, re.Pattern[str]]
    phrases: tuple[str, ...]
    only_patient: re.Pattern[str]

    def labelled(self, text: str) -> bool:
        """Whether a line of the turn starts with a speaker's label, be it the speaker's own."""
        return ":" in text and any(label.search(text) for label in self.labels.values())

    def confused(self, speaker: Speaker, text: str) -> str | None:
        """By which rule the speaker of this turn speaks as the other one, or writes both sides.

        None where it does not.
        """
        other = Speaker.PATIENT if speaker is Speaker.THERAPIST else Speaker.THERAPIST
        if ":" in text and self.labels[other].search(text):
            return "the other's label"
        folded = text.casefold()
        if any(name in folded for name in self.names[speaker]) and self.addressed[speaker].search(
            _own_words(text)
        ):
            return "addresses itself"
        if speaker is Speaker.PATIENT or not any(phrase in folded for phrase in self.phrases):
            return None
        return "a patient's words" if self.only_patient.search(_own_words(text)) else None


@lru_cache(maxsize=256)
def voices(patient: str, rules: FlagRules) -> Voices:
    """The patterns for a patient of this name under these rules.

    What stands in quotation marks or in a list is an example.
    """
    names = (
        [patient, *(part for part in patient.split() if part[0].isupper() and len(part) > 2)]
        if patient
        else []
    )
    named = {Speaker.PATIENT: [*names], Speaker.THERAPIST: [rules.therapist_name]}
    words = {Speaker.PATIENT: rules.patient_labels, Speaker.THERAPIST: rules.therapist_labels}
    return Voices(
        labels={speaker: _label(named[speaker], words[speaker]) for speaker in Speaker},
        names={speaker: tuple(name.casefold() for name in named[speaker]) for speaker in Speaker},
        addressed={speaker: _address(named[speaker], rules) for speaker in Speaker},
        phrases=tuple(phrase.casefold() for phrase in rules.patient_voice),
        only_patient=re.compile(rf"\b{_any(rules.patient_voice)}\b", re.IGNORECASE),
    )


def _own_words(text: str) -> str:
    """The text without what it quotes or lists."""
    return _LISTED.sub(" ", _QUOTED.sub(" ", text))


def _any(words: Iterable[str]) -> str:
    """One of these; nothing matches where there are none."""
    found = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return f"(?:{found})" if found else "(?!)"


def _label(names: Iterable[str], words: Iterable[str]) -> re.Pattern[str]:
    """At the start of a line `Name:` or `AI CBT Therapist:`, with or without markdown."""
    titled = rf"(?:[A-Z][\w.]*[ ]){{0,3}}(?i:{_any(words)})"
    return re.compile(rf"(?m)^[ \t*_#>]*(?:{_any(names)}|{titled})[ \t]*[*_]*[ \t]*:")


def _address(names: Iterable[str], rules: FlagRules) -> re.Pattern[str]:
    """`Thanks, Nova.`, `Nova, I ...`, `Hello Nova`, but no signature (`Best regards, Nova`) and no
    `Your therapist, Nova`.
    """
    name, signed = _any(names), "|".join(rules.signatures)
    after_comma = rf"(?<!\w)(?!(?i:{signed})\b)\w+,[ ]{name}(?=[.,!?;:]|[ ]*$)"
    first = rf"(?:^|[.!?][ ]){name},"
    said = _any(rules.introductions)
    greeted = rf"\b(?i:{_any(rules.greetings)})[, ]+{name}\b(?! {said})"
    return re.compile(rf"(?m){after_comma}|{first}|{greeted}")
