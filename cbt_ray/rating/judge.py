"""The judge: a word with a justification for each item, read strictly.

What is missing stays missing, with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.request import Ask, Message, Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.rating.scale import Item, Scale
from cbt_ray.study.endpoint import Role
from cbt_ray.study.model import Judge
from cbt_ray.therapy.answer import read_json
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.prose import bounded, record
from cbt_ray.unit import seed_of

PROMPTS = ("judge.j2", "judge_request.j2")


@dataclass(frozen=True)
class ItemRating:
    """One item's rating; without a score it has a reason."""

    word: str | None
    score: int | None
    justification: str
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in a unit."""
        return dict(vars(self))


@dataclass(frozen=True)
class Rating:
    """A session's rating. `total` is there only where every item is."""

    items: dict[str, ItemRating]
    useless: dict[str, int]

    @property
    def total(self) -> int | None:
        """Sum of all items (CTRS: 11 to 110), None where one is missing."""
        scores = [item.score for item in self.items.values()]
        return None if None in scores else sum(score for score in scores if score is not None)


def rate(
    text: str, scale: Scale, judge: Judge, prompts: Prompts, role: Role, ask: Ask, seed: int
) -> Rating:
    """Have a transcript rated.

    Items that the judge left out or misnamed are asked for again, up to `role.attempts` times.

    Raises ModelFailure where not one item was rated.
    """
    groups = [list(scale.items)] if judge.items == "together" else [[item] for item in scale.items]
    system = Message("system", prompts.render("judge.j2", scale=scale))
    rated: dict[str, ItemRating] = {}
    useless: Counter[str] = Counter()
    for group in groups:
        _rate_group(
            group, rated, useless, _Asking(text, scale, judge, prompts, role, ask, system, seed)
        )
    if all(item.score is None for item in rated.values()):
        raise ModelFailure(useless.most_common(1)[0][0] if useless else "no_item")
    return Rating({item.id: rated[item.id] for item in scale.items}, dict(useless))


@dataclass(frozen=True)
class _Asking:
    text: str
    scale: Scale
    judge: Judge
    prompts: Prompts
    role: Role
    ask: Ask
    system: Message
    seed: int

    def request(self, items: Sequence[Item], attempt: int) -> Request:
        user = self.prompts.render("judge_request.j2", transcript=self.text, items=items)
        words = {"type": "string", "enum": [step.word for step in self.scale.words]}
        answer = record(
            {
                "justification": bounded(
                    self.judge.justification_chars, self.role, load_language(self.prompts)
                ),
                "word": words,
            }
        )
        schema = record({item.id: answer for item in items})
        seed = seed_of(self.seed, items[0].id, attempt)
        return Request((self.system, Message("user", user)), self.role.sampling, seed, schema)


def _rate_group(
    group: list[Item], rated: dict[str, ItemRating], useless: Counter[str], asking: _Asking
) -> None:
    missing = group
    for attempt in range(asking.role.attempts):
        try:
            found = _read(asking.ask(asking.request(missing, attempt)), missing, asking.scale)
        except ModelFailure as failure:
            useless[failure.reason] += 1
            found = {item.id: ItemRating(None, None, "", failure.reason) for item in missing}
        rated.update(found)
        missing = [item for item in missing if rated[item.id].score is None]
        if not missing:
            return


def _read(reply: Reply, items: Sequence[Item], scale: Scale) -> dict[str, ItemRating]:
    value = read_json(reply)
    return {item.id: _read_item(value.get(item.id), scale) for item in items}


def _read_item(value: Any, scale: Scale) -> ItemRating:
    if not isinstance(value, dict):
        return ItemRating(None, None, "", "absent")
    word, justification = value.get("word"), value.get("justification")
    text = justification if isinstance(justification, str) else ""
    score = scale.score(word) if isinstance(word, str) else None
    if score is None:
        return ItemRating(None, None, text, "unknown_word")
    return ItemRating(scale.words[score - 1].word, score, text)
