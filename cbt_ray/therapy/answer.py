"""Asking until an answer is of use: the one loop of bounded attempts that every role shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from cbt_ray.count import many
from cbt_ray.errors import ModelFailure
from cbt_ray.llm.reasoning import begins_with_thought
from cbt_ray.llm.request import Ask, Finish, Reply, Request, whole_characters
from cbt_ray.reading import loads
from cbt_ray.unit import seed_of

T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A usable answer, and why earlier ones were not: reason to count."""

    value: T
    useless: dict[str, int]


def ask_until(ask: Ask, request: Request, attempts: int, read: Callable[[Reply], T]) -> Answer[T]:
    """Ask up to `attempts` times, each with a seed of its own, until `read` does not raise
    ModelFailure.

    Raises ModelFailure with the commonest reason when no attempt was usable; Infrastructure passes
    through.
    """
    useless: Counter[str] = Counter()
    for attempt in range(attempts):
        seed = request.seed if attempt == 0 else seed_of(request.seed, attempt)
        try:
            return Answer(read(ask(replace(request, seed=seed))), dict(useless))
        except ModelFailure as failure:
            useless[failure.reason] += 1
    reason = useless.most_common(1)[0][0]
    raise ModelFailure(
        reason,
        f"{reason}: {many(attempts, 'attempt')}, "
        + ", ".join(f"{n} {r}" for r, n in useless.items()),
    )


def read_text(reply: Reply) -> str:
    """The reply's text.

    Raises ModelFailure where it is refused, ended before its end or is empty.
    """
    if reply.finish is Finish.REFUSED:
        raise ModelFailure("refused")
    text = reply.text.strip()
    if reply.finish is Finish.CUT or (reply.finish is Finish.LENGTH and not text):
        raise ModelFailure("cut")
    if not text:
        raise ModelFailure("empty")
    return text


def read_json(reply: Reply) -> dict[str, Any]:
    """The reply as a JSON object; raises ModelFailure where it is empty, refused, cut or no object.

    Reasoning that a model held to JSON puts into a text makes the object useless too: asked again.
    """
    text = read_text(reply)
    if reply.finish is Finish.LENGTH:
        raise ModelFailure("cut")
    fenced = text.removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = _whole(loads(fenced))
    except RecursionError:
        raise ModelFailure("malformed", "no JSON: nested too deep") from None
    except ValueError as error:
        raise ModelFailure("malformed", f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelFailure("malformed", "JSON, but no object")
    return value


def _whole(value: Any) -> Any:
    """A value with whole characters in its texts.

    JSON can spell half a character, a unit cannot hold it.
    """
    if isinstance(value, dict):
        return {whole_characters(name): _whole(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if not isinstance(value, str):
        return value
    if begins_with_thought(value):
        raise ModelFailure("malformed", "reasoning within the JSON")
    return whole_characters(value)
