"""Judges that answer by a rule of their own, and sessions whose coherence, homework and style such
a rule can see.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from cbt_ray.analysis.judge.robustness import Robustness, robustness
from cbt_ray.llm.request import Finish, Reply, Request
from cbt_ray.stages.analyse import settings_of
from cbt_ray.stages.held import Held
from cbt_ray.stages.probe import probe_rows
from cbt_ray.stages.rate import rate_sessions
from cbt_ray.stages.scores import score_rows
from cbt_ray.study import load_study
from cbt_ray.study.probe import ProbeName
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.therapy.stop import StopReason
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import for_terminal
from tests.stages import scripted

WORDS = (
    "Severely Deficient",
    "Very Poor",
    "Poor",
    "Unsatisfactory",
    "Below Average",
    "Adequate",
    "Good",
    "Very Good",
    "Excellent",
    "Outstanding",
)
EVERY = list(get_args(ProbeName))
PATIENTS = ("Teresa Lindqvist", "Jonas Adeyemi", "Mina Sato", "Ole Brandt")
Score = Callable[[str, int, str], int]
"""(item, its place on the scale, transcript) -> 1 to 10."""
Kind = Callable[[str], str]
"""Transcript -> how the description of the guessed kind begins."""


class RuledJudge:
    """Rates by `score`, guesses by `kind`; keeps what it was asked."""

    def __init__(self, score: Score, kind: Kind = lambda _text: "A") -> None:
        self.score, self.kind = score, kind
        self.requests: list[Request] = []
        self._items: list[str] = []

    def complete(self, request: Request) -> Reply:
        self.requests.append(request)
        assert request.schema is not None
        names = list(request.schema["properties"])
        text = request.messages[-1].content.split("Transcript:\n\n")[1].rpartition("\n\n")[0]
        answer = self._guess(request, text) if "kind" in names else self._rate(request, names, text)
        return Reply(json.dumps(answer), Finish.STOP, 1, 1, "ruled", 0.0)

    def _guess(self, request: Request, text: str) -> dict[str, Any]:
        letters = dict(re.findall(r"^- ([A-Z]): (.*)$", request.messages[0].content, re.MULTILINE))
        said = self.kind(text)
        letter = next((letter for letter, told in letters.items() if told.startswith(said)), said)
        return {"justification": "As it was said.", "kind": letter}

    def _rate(self, request: Request, names: list[str], text: str) -> dict[str, Any]:
        order = re.findall(r"^- (\w+) \(", request.messages[0].content, re.MULTILINE)
        return {
            name: {
                "justification": "As it was said.",
                "word": WORDS[self.score(name, order.index(name), text) - 1],
            }
            for name in names
        }


def reads(item: str, place: int, text: str) -> int:
    """A judge that reads: coherence of each answer with what was said before it, and homework."""
    turns = re.findall(r"^\[\d+\] (\w+): (.*(?:\n> .*)*)", text, re.MULTILINE)
    if item == "homework":
        return 8 if any(who == "Therapist" and "homework" in said for who, said in turns) else 1
    answers = [(before[1], said) for before, (who, said) in pairwise(turns) if who == "Therapist"]
    fitting = sum(
        bool(set(re.findall(r"topic-\S+", said)) & set(re.findall(r"topic-\S+", before)))
        for before, said in answers
    )
    return 1 + round(fitting / max(len(answers), 1) * (4 + place % 5))


def by_number(text: str) -> str:
    """A guess that has nothing to do with the therapist: by the number of the session."""
    number = re.search(r"session (\d+)", text)
    assert number is not None
    return "a model that was trained" if int(number[1]) % 2 else "a general assistant"


def by_style(text: str) -> str:
    """A guess by markdown."""
    return "a model that was trained" if "**" in text else "a general assistant"


def session_of(patient: str, number: int, *, tuned: bool, pairs: int = 4) -> Session:
    """A session whose every answer takes up the topic before it.

    The tuned therapist writes bold.
    """
    turns = []
    for n in range(pairs):
        topic = f"topic-{patient[:3]}-{number}-{n}"
        turns.append(
            Turn(
                Speaker.PATIENT, f"In session {number} I did the homework. It hurts: {topic} again."
            )
        )
        said = f"I hear {topic} weighs on you. What went through your mind?"
        turns.append(Turn(Speaker.THERAPIST, f"**Thank you.** {said}" if tuned else said))
    turns[-1] = Turn(
        Speaker.THERAPIST,
        f"{turns[-1].text} For homework, keep a thought record until our next session.",
    )
    return Session(patient, number, "all", "", tuple(turns), "A summary of it.")


def study_file(folder: Path, which: list[str], sessions: int = 24, **judge: Any) -> Path:
    """Two arms of one model, four patients, six sessions each."""
    document = scripted.study_document(folder / "store")
    document["patients"]["simulated"] = [
        {"name": name, "profile": "A patient who sleeps badly and has given up what was dear."}
        for name in PATIENTS
    ]
    document["arms"] = [
        {"name": f"first-{kind}", "model": "first", "tuned": kind == "tuned"}
        for kind in ("instruct", "tuned")
    ]
    del document["imported"]  # an arm is tuned
    document["phases"][0]["sessions"] = [1, 6]
    document["sessions"] = {"count": 6, "max_messages": 8}
    document["raters"]["judge"] |= {"probes": {"which": which, "sessions": sessions}, **judge}
    return scripted.write_study(folder, document)


def opened(file: Path, make: Callable[[str, int, bool], Session] | None = None) -> Bench:
    """The study with all its sessions held."""
    bench = Bench(load_study(file), for_terminal(), inline=True)
    for arm, patient, replicate, seed in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate, seed), 1):
            name, tuned = bench.study.patients.simulated[patient - 1].name, arm.tuned
            session = make(name, number, tuned) if make else session_of(name, number, tuned=tuned)
            put(bench, key, session)
    return bench


def put(bench: Bench, key: Key, session: Session) -> None:
    """Write a session as simulate would."""
    content = {**session.to_json(), "stop": StopReason.MAX_MESSAGES.value}
    bench.store.put(Unit(key, content, made_from=inputs_of(bench, key)))


def inputs_of(bench: Bench, key: Key) -> dict[str, str]:
    """What a unit under this key records."""
    return {
        str(one): unit.digest for one, unit in bench.store.get_many(bench.keys.inputs(key)) if unit
    }


def robustness_of(bench: Bench) -> Robustness:
    """Rate, and what the probes show."""
    from cbt_ray.analysis import Scores

    rate_sessions(bench)
    survey = bench.survey(Stage.SESSIONS, Stage.RATINGS)
    settings = settings_of(bench.study, bench.prompts)
    scores = Scores.of(score_rows(bench, survey, Held(bench, survey)))
    return robustness(probe_rows(bench, survey), scores, settings, bench.study.judge)
