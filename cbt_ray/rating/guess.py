"""The judge's guess of the kind of therapist: what it is asked and how its answer is read."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cbt_ray.errors import InputError, ModelFailure
from cbt_ray.llm.request import Ask, Message, Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.reading import read_fields
from cbt_ray.study.rater import Judge
from cbt_ray.therapy.answer import ask_until, read_json
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.reply_schema import bounded, record

KINDS = "probe/kinds.yaml"
PROMPTS = ("judge_guess.j2", "judge_guess_request.j2", KINDS)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Guess:
    """What the judge guessed: a variant, under the letter that stood for it, and why."""

    variant: str
    letter: str
    justification: str
    useless: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As it is in a unit."""
        return {
            "guess": self.variant,
            "letter": self.letter,
            "justification": self.justification,
            "sent_back": self.useless,
        }


def load_kinds(prompts: Prompts, variants: Sequence[str]) -> dict[str, str]:
    """Variant -> what the judge is told of it; raises InputError naming file and field."""
    path = prompts.path(KINDS)
    document = read_fields(path)
    problems = [
        f"{path}: {variant}: expected a description of this kind of therapist"
        for variant in dict.fromkeys((*variants, *document))
        if not isinstance(told := document.get(variant), str) or not told.strip()
    ]
    if problems:
        raise InputError(*problems)
    return {variant: document[variant] for variant in variants}


def guess(
    text: str,
    kinds: dict[str, str],
    expertise: str,
    judge: Judge,
    prompts: Prompts,
    ask: Ask,
    seed: int,
) -> Guess:
    """Have the kind of therapist guessed.

    `expertise`: what the judge's scale makes it an expert in. Which letter stands for which kind is
    drawn, so that no letter is a safe answer.

    Raises ModelFailure where no answer was of use.
    """
    order = sorted(kinds)
    random.Random(seed).shuffle(order)
    letters = dict(zip(_LETTERS, order, strict=False))
    told = [(letter, kinds[variant]) for letter, variant in letters.items()]
    asked = prompts.render("judge_guess.j2", kinds=told, expertise=expertise)
    system = Message("system", asked)
    user = Message("user", prompts.render("judge_guess_request.j2", transcript=text))
    schema = record(
        {
            "justification": bounded(judge.justification_chars, judge, load_language(prompts)),
            "kind": {"type": "string", "enum": list(letters)},
        }
    )
    answer = ask_until(
        ask,
        Request((system, user), judge.sampling, seed, schema),
        judge.attempts,
        lambda r: _read(r, letters),
    )
    letter, justification = answer.value
    return Guess(letters[letter], letter, justification, answer.useless)


def _read(reply: Reply, letters: dict[str, str]) -> tuple[str, str]:
    value = read_json(reply)
    letter, justification = value.get("kind"), value.get("justification")
    if not isinstance(letter, str) or letter.strip().upper() not in letters:
        raise ModelFailure("unknown_kind")
    return letter.strip().upper(), justification if isinstance(justification, str) else ""
