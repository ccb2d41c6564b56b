"""The judge: a word, number or count with a justification for each item, read strictly.

What is missing stays missing, with its reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.request import Ask, Message, Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.rating.measure import Number, Value
from cbt_ray.rating.scale import Item, Kind, Scale, joined
from cbt_ray.study.rater import Judge
from cbt_ray.therapy.answer import read_json
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.reply_schema import bounded, record
from cbt_ray.unit import seed_of

PROMPTS = ("judge.j2", "judge_request.j2")
_FIELDS: dict[Kind, str] = {"words": "word", "numbers": "score", "count": "count"}
"""Where an answer is in the judge's reply."""


@dataclass(frozen=True)
class ItemRating:
    """One item's rating; without a score it has a reason."""

    word: str | None
    """None where the item is answered with a number or a count."""
    score: Number | None
    justification: str
    reason: str | None = None

    def to_json(self) -> dict[str, object]:
        """As it is in a unit."""
        return dict(vars(self))


@dataclass(frozen=True)
class Rating:
    """A session's rating: every item, every measure, and why answers were of no use."""

    items: Mapping[str, ItemRating]
    measures: Mapping[str, Value]
    useless: Mapping[str, int]

    def to_json(self) -> dict[str, object]:
        """As it is in a unit."""
        return {
            "items": {name: item.to_json() for name, item in self.items.items()},
            "measures": {name: value.to_json() for name, value in self.measures.items()},
            "sent_back": dict(self.useless),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Rating:
        """Read back from a unit's content; empty where that holds no scores."""
        return cls(
            {name: ItemRating(**item) for name, item in content.get("items", {}).items()},
            {name: Value(**value) for name, value in content.get("measures", {}).items()},
            content.get("sent_back", {}),
        )

    def under(self, prefix: str) -> Rating:
        """The same with something in front of the names of items and measures."""
        return replace(
            self,
            items={prefix + name: item for name, item in self.items.items()},
            measures={prefix + name: value for name, value in self.measures.items()},
        )


def rate(
    text: str, scales: Sequence[Scale], judge: Judge, prompts: Prompts, ask: Ask, seed: int
) -> Rating:
    """Have a transcript rated on every scale.

    Items that the judge left out or misnamed are asked for again, up to `judge.attempts` times.

    Raises ModelFailure where not one item was rated.
    """
    scale = joined(scales)
    rated: dict[str, ItemRating] = {}
    useless: Counter[str] = Counter()
    for part in [scale] if judge.asked == "together" else scales:
        own = seed if len(scales) == 1 else seed_of(seed, part.name)
        found = _rate_scale(part, _Asking(text, judge, prompts, ask, own), useless)
        before = "" if part is scale else f"{part.name}."
        rated |= {before + name: one for name, one in found.items()}
    if all(item.score is None for item in rated.values()):
        raise ModelFailure(useless.most_common(1)[0][0] if useless else "no_item")
    items = {item.id: rated[item.id] for item in scale.items}
    scores = {name: item.score for name, item in items.items()}
    return Rating(items, scale.values(scores), dict(useless))


class Lesson(NamedTuple):
    """What a judge is asked, and how people answered."""

    messages: tuple[Message, ...]
    """The last one is the answer."""
    fits: bool
    """The judge may answer so: its justifications are long enough, and not too long."""


def lessons(
    text: str, scales: Sequence[Scale], judge: Judge, prompts: Prompts, given: Rating
) -> Iterator[Lesson]:
    """A rating as the judge should have given it: every request of `rate` for the items that have
    a score, with the answer to it.

    A score between two steps counts as the nearest one. Where nobody justified a score, the words
    of the scale for it do.
    """
    whole, together = joined(scales), judge.items == "together"
    asking = _Asking(text, judge, prompts, _nobody, 0)
    for part in [whole] if judge.asked == "together" else scales:
        before = "" if part is whole else f"{part.name}."
        found = ((item, given.items.get(before + item.id)) for item in part.items)
        answers = {item: answer for item, one in found if (answer := _answered(item, one))}
        system = Message("system", prompts.render("judge.j2", scale=part))
        for group in [list(answers)] if together and answers else [[item] for item in answers]:
            asked = asking.request(system, group, 0)
            reply = {item.id: answers[item] for item in group}
            said = Message("assistant", json.dumps(reply, ensure_ascii=False))
            why = asking.justification
            fits = all(_holds(why, answer["justification"]) for answer in reply.values())
            yield Lesson((*asked.messages, said), fits)


def _answered(item: Item, given: ItemRating | None) -> dict[str, Any]:
    """An item's part of the judge's reply; empty where there is no score."""
    if given is None or given.score is None:
        return {}
    score = given.score
    if not item.steps:
        count = max(0, round(score))
        return {"justification": given.justification or str(count), "count": count}
    step = min(item.steps, key=lambda step: abs(step.score - score))
    words = f"{step.word}: {step.anchor}" if step.anchor else step.word
    value = step.word if item.kind == "words" else step.score
    return {"justification": given.justification or words, _FIELDS[item.kind]: value}


def _holds(schema: Mapping[str, Any], text: str) -> bool:
    """Whether a justification is one that the judge may give."""
    if "pattern" in schema:
        return re.search(schema["pattern"], text) is not None
    return bool(schema["minLength"] <= len(text) <= schema["maxLength"])


def _nobody(_: Request) -> Reply:
    raise AssertionError("a lesson asks no model")


@dataclass(frozen=True)
class _Asking:
    text: str
    judge: Judge
    prompts: Prompts
    ask: Ask
    seed: int

    @property
    def justification(self) -> dict[str, Any]:
        """What a justification may be, as a JSON schema."""
        return bounded(self.judge.justification_chars, self.judge, load_language(self.prompts))

    def request(self, system: Message, items: Sequence[Item], attempt: int) -> Request:
        user = self.prompts.render("judge_request.j2", transcript=self.text, items=items)
        why = self.justification
        schema = record(
            {item.id: record({"justification": why, **_answer(item)}) for item in items}
        )
        seed = seed_of(self.seed, items[0].id, attempt)
        return Request((system, Message("user", user)), self.judge.sampling, seed, schema)


def _rate_scale(scale: Scale, asking: _Asking, useless: Counter[str]) -> dict[str, ItemRating]:
    """One scale's items; counts the answers that were of no use."""
    together = asking.judge.items == "together"
    system = Message("system", asking.prompts.render("judge.j2", scale=scale))
    rated: dict[str, ItemRating] = {}
    for group in [list(scale.items)] if together else [[item] for item in scale.items]:
        _rate_group(group, rated, useless, asking, system)
    return rated


def _rate_group(
    group: list[Item],
    rated: dict[str, ItemRating],
    useless: Counter[str],
    asking: _Asking,
    system: Message,
) -> None:
    missing = group
    for attempt in range(asking.judge.attempts):
        try:
            found = _read(asking.ask(asking.request(system, missing, attempt)), missing)
        except ModelFailure as failure:
            useless[failure.reason] += 1
            found = {item.id: ItemRating(None, None, "", failure.reason) for item in missing}
        rated.update(found)
        missing = [item for item in missing if rated[item.id].score is None]
        if not missing:
            return


def _answer(item: Item) -> dict[str, Any]:
    """The field that an item is answered in, with what it may hold."""
    if item.kind == "words":
        return {"word": {"type": "string", "enum": [step.word for step in item.steps]}}
    if item.kind == "numbers":
        return {"score": {"type": "integer", "enum": [step.score for step in item.steps]}}
    return {"count": {"type": "integer", "minimum": 0}}


def _read(reply: Reply, items: Sequence[Item]) -> dict[str, ItemRating]:
    value = read_json(reply)
    return {item.id: _read_item(value.get(item.id), item) for item in items}


def _read_item(value: Any, item: Item) -> ItemRating:
    if not isinstance(value, dict):
        return ItemRating(None, None, "", "absent")
    justification = value.get("justification")
    text = justification if isinstance(justification, str) else ""
    score, reason = item.read(value.get(_FIELDS[item.kind]))
    step = item.step(score) if item.kind == "words" and score is not None else None
    return ItemRating(step.word if step else None, score, text, reason)
