"""The dataset: examples made of valid sessions, split into train, held_out and test.

Pure but for reading and writing JSONL.

`session` (default): an example a session, split by patient, so that no patient is in two splits.
`turn`: an example a therapist turn, after all that was said before it; the reply is learned as it
is written, with its hidden parts. Split by patient, too.
`paper` (arXiv 2412.00251): an example a therapist turn with the whole history before it in an
Alpaca text, split at random: it repeats the text about fifteen times and leaks between splits, and
is offered because the published study did so.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.llm.request import Message
from cbt_ray.study.model import Dataset, parted
from cbt_ray.study.split import Split
from cbt_ray.therapy.language import Transcript
from cbt_ray.therapy.session import Session, Speaker, Turn, label, therapist_messages
from cbt_ray.unit import canonical

Example = dict[str, Any]
"""JSON: patient (its id), session, and either `messages` (session; with `turn` where only the last
is learned) or `turn`, `instruction`, `history` and `response` (paper)."""
Written = Callable[[Turn], str | None]
"""What a therapist's model writes for a turn, with what it does not say; None where the turn lacks
a part of it."""
Format = Literal["session", "turn", "paper"]
NAMES = ("train", "held_out", "test")

ALPACA = """Below is an instruction that describes a task, paired with an input that provides \
further context. Write a response that appropriately completes the request.

### Instruction:
{instruction}

### Input:
{history}

### Response:
{response}"""


@dataclass(frozen=True)
class Splits:
    """The examples of a dataset.

    Loss is measured on all of them and only `train` is trained on; `held_out` chooses the epoch.
    """

    format: Format
    train: list[Example]
    held_out: list[Example]
    test: list[Example]

    @property
    def counts(self) -> dict[str, int]:
        """Examples in each split."""
        return {name: len(getattr(self, name)) for name in NAMES}


def build(
    courses: Mapping[str, Sequence[Session]],
    settings: Dataset,
    system: Callable[[Session], str],
    words: Transcript,
    written: Written = lambda turn: turn.text,
    split: Split | None = None,
) -> Splits:
    """Examples of all sessions, split.

    `courses` are by the patient's id, since two patients can have one name. `system` gives the
    therapist's system prompt, the one used at inference. `written` is for `turn` alone. `split`:
    the personas, and who is tested; without that they are drawn from those that are there.
    """
    ordered = [
        (patient, session)
        for patient in sorted(courses)
        for session in sorted(courses[patient], key=lambda session: session.number)
    ]
    if settings.format == "paper":
        turns = [
            turn for who, one in ordered for turn in _turn_examples(who, one, system(one), words)
        ]
        return _split_at_random(turns, settings)
    if settings.format == "turn":
        replies = [
            reply
            for who, one in ordered
            for reply in _reply_examples(who, one, system(one), words, written)
        ]
        return _split_by_patient(replies, settings, split)
    whole = [_session_example(who, one, system(one), words) for who, one in ordered]
    return _split_by_patient(whole, settings, split)


def alpaca(example: Example) -> str:
    """The text of a `paper` example."""
    history = "\n".join(example["history"])
    return ALPACA.format(
        instruction=example["instruction"], history=history, response=example["response"]
    )


def write(splits: Splits, folder: Path) -> Path:
    """Write `dataset.json` and, of each split that has any, `train.jsonl`, `held_out.jsonl`,
    `test.jsonl`: the same bytes for the same examples.

    Other programs take an empty file for a broken one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        lines = [canonical(example) + b"\n" for example in getattr(splits, name)]
        if lines:
            (folder / f"{name}.jsonl").write_bytes(b"".join(lines))
    (folder / "dataset.json").write_bytes(
        canonical({"format": splits.format, "counts": splits.counts}) + b"\n"
    )
    return folder


def read(folder: Path) -> Splits:
    """Read back what `write` wrote; InputError names the file that is none of it."""
    file = folder / "dataset.json"
    try:
        head = json.loads(file.read_bytes())
        parts = {}
        for name in NAMES:
            file = folder / f"{name}.jsonl"
            data = file.read_bytes() if head["counts"][name] or file.exists() else b""
            parts[name] = [json.loads(line) for line in data.split(b"\n")[:-1]]
            if len(parts[name]) != head["counts"][name]:
                raise ValueError(f"it was written with {many(head['counts'][name], 'example')}")
        return Splits(cast(Format, head["format"]), **parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: expected a part of a dataset that cbt-ray wrote ({error})"
        ) from error


def _session_example(patient: str, session: Session, system: str, words: Transcript) -> Example:
    """A session up to the therapist's last words: what comes after them leads to no answer."""
    messages = therapist_messages(system, session.opening, session.turns, words)
    while messages and messages[-1].role == "user":
        messages = messages[:-1]
    said = [message.to_json() for message in messages]
    return {"patient": patient, "session": session.number, "messages": said}


def _reply_examples(
    patient: str, session: Session, system: str, words: Transcript, written: Written
) -> Iterator[Example]:
    """One example a therapist turn: what was said before it, and the reply as it was written."""
    for number, turn in enumerate(session.turns):
        reply = written(turn) if turn.speaker is Speaker.THERAPIST else None
        if reply is not None:
            before = therapist_messages(system, session.opening, session.turns[:number], words)
            messages = [*before, Message("assistant", reply)]
            yield {
                **{"patient": patient, "session": session.number, "turn": number},
                "messages": [message.to_json() for message in messages],
            }


def _turn_examples(patient: str, session: Session, system: str, words: Transcript) -> list[Example]:
    """One example a therapist turn.

    Its history is everything said before, the injected summary included.
    """
    examples = []
    history = [words.opened(session.opening)] if session.opening else []
    for number, turn in enumerate(session.turns):
        if turn.speaker is Speaker.THERAPIST:
            own = {"patient": patient, "session": session.number, "turn": number}
            examples.append(
                {**own, "instruction": system, "history": list(history), "response": turn.text}
            )
        history.append(f"{label(turn.speaker, words)}: {turn.text}")
    return examples


def _split_by_patient(examples: list[Example], settings: Dataset, split: Split | None) -> Splits:
    known = split or Split({})
    there = dict.fromkeys(example["patient"] for example in examples)
    personas = {patient: known.personas.get(patient, patient) for patient in there}
    of_test = known.test
    if of_test:  # they are given: what is held out is drawn from the others
        rest = {patient: personas[patient] for patient in personas if patient not in of_test}
        held_out = min(1.0, settings.held_out * len(personas) / max(1, len(rest)))
        of_held, _ = parted(rest, settings.seed, held_out)
    else:
        of_held, of_test = parted(personas, settings.seed, settings.held_out, settings.test)
    return Splits(
        settings.format,
        [example for example in examples if example["patient"] not in of_held | of_test],
        [example for example in examples if example["patient"] in of_held],
        [example for example in examples if example["patient"] in of_test],
    )


def _split_at_random(examples: list[Example], settings: Dataset) -> Splits:
    """First the test share of all, then the held-out share of the rest."""
    order = list(range(len(examples)))
    random.Random(settings.seed).shuffle(order)
    test = math.ceil(settings.test * len(order))
    held = math.ceil(settings.held_out * (len(order) - test))
    parts = order[test + held :], order[test : test + held], order[:test]
    train, held_out, tested = ([examples[index] for index in sorted(part)] for part in parts)
    return Splits("paper", train, held_out, tested)
