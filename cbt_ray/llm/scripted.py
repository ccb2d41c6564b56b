"""No model: answers by rule, the same for the same question and seed.

For rehearsals of a study file and for tests.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cbt_ray.llm.regex_text import matching, words
from cbt_ray.llm.request import Finish, Reply, Request
from cbt_ray.study.endpoint import ScriptedEndpoint

_THERAPIST = (
    "I hear how heavy this week has been for you.",
    "What went through your mind at that moment?",
    "Let us look at what speaks for that thought and what speaks against it.",
    "On a scale from one to ten, how strong was the sadness?",
    "What would you say to a friend who thought this?",
    "Which small step could you try before Friday?",
    "Let us write this thought down and test it together.",
    "How would your week look if the thought were only half as true?",
    "What do you make of what we just found?",
)
_PATIENT = (
    "I keep thinking that I let everybody down.",
    "I slept badly and stayed in bed until noon.",
    "I did the homework on two days, and then I forgot it.",
    "My sister called, and for a while it felt lighter.",
    "I am not sure that it helps, but I could take a short walk.",
    "It is hard to say why, I just felt tired.",
    "At work nobody noticed that I was there.",
    "Part of me knows that it was not only my fault.",
    "I would rather have stayed at home today.",
)


MORE_ENTRIES = 2
"""Than a list has to have."""


class ScriptedModel:
    """A function of messages, schema and seed.

    `invalid` answers are empty, or JSON cut in the middle.
    """

    def __init__(
        self, endpoint: ScriptedEndpoint, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._endpoint = endpoint
        self._sleep = sleep

    def complete(self, request: Request) -> Reply:
        """Answer by rule."""
        if self._endpoint.latency_s:
            self._sleep(self._endpoint.latency_s)
        rng = random.Random(_fingerprint(request))
        useless = rng.random() < self._endpoint.invalid
        text = self._text(request, rng)
        if useless:
            text = "" if request.schema is None or rng.random() < 0.5 else text[: len(text) // 2]
        prompt = sum(len(message.content.split()) for message in request.messages)
        return Reply(text, Finish.STOP, prompt, len(text.split()), "scripted", 0.0)

    def _text(self, request: Request, rng: random.Random) -> str:
        if request.schema is not None:
            return json.dumps(value_of(request.schema, rng), ensure_ascii=False)
        return _talk(rng, _bank(request.messages[0].content))


def value_of(schema: Mapping[str, Any], rng: random.Random) -> Any:
    """A small value that follows a JSON schema of the kinds this project writes."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(list(schema["enum"]))
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return value_of(rng.choice(list(schema[union])), rng)
    kind = schema.get("type", "object")
    return _KINDS[kind if isinstance(kind, str) else kind[0]](schema, rng)


def _object(schema: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    required = schema.get("required", schema.get("properties", {}))
    return {
        name: value_of(part, rng)
        for name, part in schema.get("properties", {}).items()
        if name in required
    }


def _array(schema: Mapping[str, Any], rng: random.Random) -> list[Any]:
    fewest = schema.get("minItems", 1)
    count = rng.randint(fewest, min(schema.get("maxItems", fewest), fewest + MORE_ENTRIES))
    return [value_of(schema.get("items", {"type": "string"}), rng) for _ in range(count)]


def _string(schema: Mapping[str, Any], rng: random.Random) -> str:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    if "pattern" in schema:
        return matching(schema["pattern"], rng, shortest=shortest, longest=longest)
    text = _talk(rng, _THERAPIST + _PATIENT)
    if longest is not None:
        text = text[:longest].rstrip()
    return text if len(text) >= shortest else text + words(rng, shortest - len(text))


def _integer(schema: Mapping[str, Any], rng: random.Random) -> int:
    low = int(schema.get("minimum", 0))
    return rng.randint(low, int(schema.get("maximum", low + 9)))


def _number(schema: Mapping[str, Any], rng: random.Random) -> float:
    low = float(schema.get("minimum", 0))
    return round(rng.uniform(low, float(schema.get("maximum", low + 1))), 2)


_KINDS: dict[str, Callable[[Mapping[str, Any], random.Random], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _, rng: rng.random() < 0.5,
    "null": lambda *_: None,
}


def _talk(rng: random.Random, bank: Sequence[str]) -> str:
    """More than 200 characters: enough for a narrative or a summary.

    No farewell, so that no session ends before its time.
    """
    return " ".join(rng.sample(bank, rng.randint(6, 8)))


def _bank(prompt: str) -> Sequence[str]:
    """Who speaks, by whom the prompt names first."""
    named = re.search(r"therapist|patient", prompt.lower())
    if named is None:
        return _THERAPIST + _PATIENT
    return _THERAPIST if named.group() == "therapist" else _PATIENT


def _fingerprint(request: Request) -> int:
    schema = json.dumps(request.schema)
    whole = json.dumps([[message.to_json() for message in request.messages], schema, request.seed])
    return int(hashlib.sha256(whole.encode()).hexdigest()[:16], 16)
