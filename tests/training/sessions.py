"""Sessions made by hand, and a tokenizer of one token a character."""

from __future__ import annotations

from cbt_ray.llm.control import Control
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.therapy.session import Session, Speaker, Turn

CHATML = ChatTemplate(
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    bos="<|im_start|>",
    eos="<|im_end|>",
)
PLAIN = 0x200000
SYSTEM = "You are Nova, an AI therapist."
PAIRS = (
    ("I slept 3 hours and feel useless.", "What went through your mind at 3 am?"),
    ("That I'll fail — again.", "Let us look at the evidence for that thought."),
    ("My boss said the report was good.", "How does that fit with “I always fail”?"),
    ("It doesn't, really.", "Please write the thought down twice before Friday."),
)


def make_session(
    patient: str, number: int = 1, pairs: tuple[tuple[str, str], ...] = PAIRS, opening: str = ""
) -> Session:
    turns = [
        turn
        for said, answer in pairs
        for turn in (Turn(Speaker.PATIENT, said), Turn(Speaker.THERAPIST, f"{answer} ({patient})"))
    ]
    return Session(patient, number, "initial", opening, tuple(turns), "They talked.")


def course(patient: str, sessions: int = 2) -> list[Session]:
    return [
        make_session(patient, number, opening="They talked." if number > 1 else "")
        for number in range(1, sessions + 1)
    ]


def by_patient(sessions: list[Session]) -> dict[str, list[Session]]:
    found: dict[str, list[Session]] = {}
    for session in sessions:
        found.setdefault(session.patient, []).append(session)
    return found


class Characters:
    """One token a character: ids are code points, so a mask can be read.

    Ids of what is no control token have PLAIN added.
    """

    control = Control(("<|im_start|>", "<|im_end|>"))

    def encode(self, text: str, *, control: bool = True) -> tuple[list[int], list[tuple[int, int]]]:
        return [ord(one) + (0 if control else PLAIN) for one in text], [
            (at, at + 1) for at in range(len(text))
        ]
