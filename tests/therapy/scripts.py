"""Models that answer by script, to test the protocol without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cbt_ray.llm.request import Finish, Reply, Request
from cbt_ray.therapy.session import Session, Speaker, Turn

Answer = str | Reply | Exception


def reply(text: str, finish: Finish = Finish.STOP) -> Reply:
    return Reply(text, finish, prompt_tokens=1, reply_tokens=1, model="scripted")


REFUSED = reply("I cannot help with that.", Finish.REFUSED)


def cut(text: str) -> Reply:
    return reply(text, Finish.LENGTH)


class Script:
    """An Ask that gives these answers in turn, the last one from then on, and remembers what it was
    asked.
    """

    def __init__(self, answers: Iterable[Answer] | Callable[[Request, int], Answer]) -> None:
        self._answer = answers if callable(answers) else None
        self._answers = [] if callable(answers) else list(answers)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        number = len(self.requests)
        answer = (
            self._answer(request, number)
            if self._answer
            else self._answers[min(number, len(self._answers)) - 1]
        )
        if isinstance(answer, Exception):
            raise answer
        return reply(answer) if isinstance(answer, str) else answer

    @property
    def calls(self) -> int:
        return len(self.requests)


def as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value)


def turns(*texts: str) -> tuple[Turn, ...]:
    """The patient speaks first."""
    return tuple(
        Turn(Speaker.PATIENT if number % 2 == 0 else Speaker.THERAPIST, text)
        for number, text in enumerate(texts)
    )


def session(*texts: str, opening: str = "", summary: str = "They talked.") -> Session:
    return Session("Teresa", 1, "assessment", opening, turns(*texts), summary)
