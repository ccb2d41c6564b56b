"""A study's language is a file: what it must hold, and that no other language takes its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import run
from cbt_ray.errors import InputError
from cbt_ray.prompts import HOME, Prompts
from cbt_ray.rating.view import heard, view_text
from cbt_ray.stages.dataset import fetch_dataset
from cbt_ray.study import load_study
from cbt_ray.study.protocol import Flags
from cbt_ray.therapy.checks import fault_of_part
from cbt_ray.therapy.flags import NAMES, flags_of
from cbt_ray.therapy.language import Language, load_language
from cbt_ray.therapy.session import Speaker, therapist_messages
from cbt_ray.therapy.stop import StopReason
from cbt_ray.therapy.validation import detectors, foreign
from cbt_ray.therapy.voice import voices
from cbt_ray.training import dataset
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.study.example import example_study, write_study
from tests.therapy.scripts import session, turns
from tests.therapy.spoken import ENGLISH, GERMAN

LANGUAGES = sorted(folder.parent.name for folder in HOME.glob("*/language.yaml"))
PARTS = (
    (
        (
            "Ich habe schlecht geschlafen.",
            "Ich bin eine KI und kann mich irren; im Notfall rufen Sie bitte den Notruf an.",
            "Das ist gut zu wissen.",
            "Auf die Tagesordnung setze ich den Schlaf und die Woche. Was ist Ihnen wichtig?",
        ),
        (
            "I slept badly.",
            "I am an AI and may be wrong; in an emergency please call the emergency services.",
            "Good to know.",
            "For today's agenda I suggest sleep and the week. What matters to you?",
        ),
    ),
    (
        ("Die Hausaufgabe war zu schwer.", "Was war daran das Schwerste, und wie ging es Ihnen?"),
        ("The homework was too hard.", "What was the hardest of it, and how did you feel?"),
    ),
    (
        ("Ich bin nichts wert.", "Was spricht für diesen Gedanken, und was spricht nicht dafür?"),
        ("I am worth nothing.", "What speaks for this thought, and what speaks against it?"),
    ),
    (
        ("Danke.", "Bis zum nächsten Mal, und schreiben Sie auf, was Ihnen auffällt. Ist das gut?"),
        ("Thank you.", "Until next time, and write down what you notice. Is that all right?"),
    ),
)
"""A part in German and its English copy."""


@pytest.mark.parametrize(("part", "texts"), [*enumerate(PARTS, 1)])
def test_german_part_passes_and_its_english_copy_goes_back(
    part: int, texts: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    german, english = texts
    assert fault_of_part(turns(*german), part, 1, GERMAN.course) is None
    assert fault_of_part(turns(*english), part, 1, GERMAN.course) == "no_german"
    assert fault_of_part(turns(*english), part, 1, ENGLISH.course) is None


@pytest.mark.parametrize(
    ("part", "said", "fault"),
    [
        (1, PARTS[0][0][1] + " Was ist Ihnen heute und auch sonst wichtig?", "no_agenda"),
        (1, PARTS[0][0][3], "no_limits"),
        (2, PARTS[1][0][1] + " Auf Wiedersehen!", "ended_early"),
        (3, "Therapeut: " + PARTS[2][0][1], "speaker_label"),
    ],
)
def test_faults_of_a_german_part(part: int, said: str, fault: str) -> None:
    assert fault_of_part(turns("Guten Tag.", said), part, 1, GERMAN.course) == fault


def test_lead_ins_hold_what_their_part_needs() -> None:
    for language in (ENGLISH, GERMAN):
        for number, part in enumerate(language.course.parts, 1):
            for place in (1, 2):
                said = [text for lead in part.leads(place) for text in ("So.", f"{lead} gut.")]
                if said:
                    assert fault_of_part(turns(*said), number, place, language.course) is None


def test_transcript_and_masked_view_are_in_the_language() -> None:
    talk = turns("Guten Tag.", "Ich bin eine KI. Was führt Sie her?")
    assert view_text(talk, "masked", (), GERMAN) == (
        "[1] Patient: Guten Tag.\n[2] Therapeut: Was führt Sie her?\n"
        "[Ende des Transkripts, 2 Beiträge]"
    )
    only_limits = turns("Guten Tag.", "Ich bin eine KI, im Notfall rufen Sie den Notruf an.")
    assert heard(only_limits, "masked", GERMAN) == 0
    assert heard(only_limits, "masked", ENGLISH) == 1
    first = therapist_messages("x", "Es ging ihm besser.", talk, GERMAN.transcript)[1]
    assert first.content.startswith("[Zusammenfassung der vorigen Sitzung]\nEs ging ihm besser.\n")


def test_flags_find_german_words_and_are_called_unvalidated() -> None:
    rules = GERMAN.rules(Flags())
    held = session(*("Hallo.", "Meine Frau sagt das auch.") * 4, "Gut. [Ihr Name]", "Ja?")
    found = flags_of(held, StopReason.MAX_MESSAGES, rules)
    assert {"role_confusion", "template_leakage"} <= set(found)
    unlike = foreign([("arm", held, None)], GERMAN)
    assert unlike == "measured on sessions in English, these are in German"
    rows = detectors(rules, NAMES, [], unlike)
    assert {(row.status, row.labelled) for row in rows} == {("unvalidated", None)}


@pytest.mark.parametrize("quote", ["\u201e{}\u201c", "\u00bb{}\u00ab", "\u00ab{}\u00bb", '"{}"'])
def test_what_is_quoted_in_german_is_an_example(quote: str) -> None:
    known = voices("Teresa", GERMAN.rules(Flags()))
    said = "Meine Familie braucht mich"
    assert known.confused(Speaker.THERAPIST, f"{said}.") == "a patient's words"
    assert known.confused(Speaker.THERAPIST, f"Der Gedanke {quote.format(said)} ist da.") is None


def test_every_language_has_every_prompt() -> None:
    assert {"de", "en"} <= set(LANGUAGES)
    names = {file.name for file in (HOME / "en").glob("*.j2")}
    for language in LANGUAGES:
        assert {file.name for file in (HOME / language).glob("*.j2")} == names


def test_nothing_comes_from_another_language(tmp_path: Path) -> None:
    (tmp_path / "therapist.j2").write_text("Du bist Nova.")
    prompts = Prompts(tmp_path, "de")
    assert prompts.path("therapist.j2") == tmp_path / "therapist.j2"
    assert prompts.path("patient.j2") == HOME / "de" / "patient.j2"
    with pytest.raises(InputError, match="expected a prompt file, there is none"):
        prompts.path("probe/homework.yaml")
    with pytest.raises(InputError, match=r"prompts/xx/therapist\.j2: expected a prompt file"):
        Prompts(language="xx").path("therapist.j2")


def leave(*names: str | int) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        *way, last = names
        for name in way:
            document = document[name]
        del document[last]

    return change


def put(value: Any, *names: str | int) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        *way, last = names
        for name in way:
            document = document[name]
        document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (leave("masked"), "masked: expected a value"),
        (put([], "masked", "limits"), "masked.limits: expected at least 1"),
        (put([], "flags", "patient_voice"), "flags.patient_voice: expected at least 1"),
        (leave("flags", "greetings"), "flags.greetings: expected a value"),
        (put(["("], "course", "farewells"), "course.farewells.0: expected a regular expression"),
        (
            put([r"(\s*good\s*)*bye"], "course", "farewells"),
            "course.farewells.0: expected a regular expression without repeats within repeats",
        ),
        (put([r"(?:good|fare)?(well|bye)+"], "course", "farewells"), None),
        (put("a-", "letters"), None),
        (put("z-a", "letters"), "letters: expected letters as in `A-Za-z`"),
        (put("Summary", "transcript", "opening"), "transcript.opening: expected {summary} in it"),
        (put(True, "course", "parts", 0, "summary"), "parts: expected at most one"),
        (put("No!", "course", "parts", 0, "needs", 0, "name"), "needs.0.name: expected at most"),
        (
            put([{"text": "Take care, we"}], "course", "parts", 1, "lead_ins"),
            "course.parts.1.lead_ins.0.text: expected no farewell",
        ),
        (put(1, "moods"), "moods: unknown field"),
    ],
)
def test_file_is_refused_with_its_field(
    change: Callable[[Any], None], said: str | None, tmp_path: Path
) -> None:
    document = yaml.safe_load((HOME / "en" / "language.yaml").read_text())
    change(document)
    file = tmp_path / "language.yaml"
    file.write_text(yaml.safe_dump(document))
    if said is None:
        assert isinstance(load_language(Prompts(tmp_path)), Language)
        return
    with pytest.raises(InputError) as refused:
        load_language(Prompts(tmp_path))
    assert all(one.startswith(f"{file}: ") for one in refused.value.problems)
    assert said in " ".join(refused.value.problems)


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in German, run to its report; its patient's name is in another script."""
    folder = tmp_path_factory.mktemp("german")
    file = write_study(
        folder,
        example_study(language="de", raters__judge__views=["plain", "masked"]),
    )
    assert run(["study", str(file), "--inline"]) == 0
    return file


def test_german_study_runs_through(german: Path, tmp_path: Path) -> None:
    bench = Bench(load_study(german), Silent())
    parts = 0
    for key in bench.keys.courses():
        unit = bench.store.get(key)
        assert unit is not None
        assert unit.content["sent_back"] == {}
        parts += len(unit.content["turns"]) // 4
    assert parts == 2 * 2 * len(GERMAN.course.parts)
    fetch_dataset(bench, bench.keys.dataset(), tmp_path)
    examples = dataset.read(tmp_path).train + dataset.read(tmp_path).held_out
    assert all(
        example["messages"][-1]["content"].endswith("[ENDE DER SITZUNG]") for example in examples
    )
    analysis = bench.store.get(bench.keys.analysis())
    assert analysis is not None
    told = {row["status"]: row["reason"] for row in analysis.content["analysis"]["detectors"]}
    assert told == {"unvalidated": "measured on sessions in English, these are in German"}
    assert len(bench.keys.all()[Stage.RATINGS]) == 4


def test_language_reaches_the_keys_of_all_that_is_said(tmp_path: Path) -> None:
    def keys(**changes: Any) -> set[str]:
        file = write_study(tmp_path, example_study(**changes))
        return {
            str(key)
            for keys in Bench(load_study(file), Silent()).keys.all().values()
            for key in keys
        }

    assert not keys() & keys(language="de")
