"""A reply that is written as JSON: read strictly, shown as text, held to its schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from cbt_ray.llm.request import Finish, Request
from cbt_ray.llm.scripted import ScriptedModel
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role, ScriptedEndpoint
from cbt_ray.study.form import AS_WRITTEN, Form
from cbt_ray.therapy.form import read_form, written
from cbt_ray.therapy.form_json import entries_of, is_quoted, misquoted, schema_of
from cbt_ray.therapy.language import load_language

CASE = "I failed the test. “I am a failure,” I thought. Everybody will laugh!"
LABELS = {"Labeling": "A bad name.", "Filter": "One detail."}
FORM = Form.model_validate(
    {
        "prompt": "analysis.j2",
        "written": "json",
        "parts": [
            {"name": "opening", "shown": True, "chars": [5, 80]},
            {
                "name": "distortions",
                "shown": True,
                "entries": [1, 3],
                "fields": [
                    {"name": "label", "label": "Distortion:", "one_of": LABELS},
                    {"name": "quote", "quoted": True},
                    {"name": "challenge", "chars": [5, 100]},
                ],
            },
            {"name": "closing", "shown": True},
        ],
    }
)  # fmt: skip
ENTRY = {"label": "Labeling", "quote": "I am a failure", "challenge": "A test is one day."}
VALID: dict[str, Any] = {
    "opening": "That sounds hard.",
    "distortions": [ENTRY],
    "closing": "You can look at it again.",
}


def changed(**parts: Any) -> str:
    return json.dumps({name: part for name, part in (VALID | parts).items() if part is not ...})


def entry(**fields: Any) -> str:
    one = {name: value for name, value in (ENTRY | fields).items() if value is not ...}
    return changed(distortions=[one])


MALFORMED = {
    "prose": ("You label yourself.", "no_json"),
    "cut": (changed()[:60], "no_json"),
    "empty": ("{", "no_json"),
    "a field twice": ('{"opening": "a", "opening": "b"}', "no_json"),
    "fenced": (f"```json\n{changed()}\n```", "around"),
    "words before it": (f"Here it is: {changed()}", "around"),
    "words after it": (f"{changed()} Take care!", "around"),
    "a list": (json.dumps([VALID]), "no_object"),
    "a text": ('"That sounds hard."', "no_object"),
    "a part left out": (changed(closing=...), "no_closing"),
    "a list left out": (changed(distortions=...), "no_distortions"),
    "an empty part": (changed(opening="  "), "empty_opening"),
    "a number for a text": (changed(opening=7), "no_text_opening"),
    "too short": (changed(opening="Oh"), "length_opening"),
    "a text for the list": (changed(distortions="Labeling"), "no_list_distortions"),
    "texts in the list": (changed(distortions=["Labeling"]), "no_list_distortions"),
    "nothing named": (changed(distortions=[]), "too_few_distortions"),
    "too many": (changed(distortions=[ENTRY] * 4), "too_many_distortions"),
    "a field left out": (entry(challenge=...), "no_challenge"),
    "a label of its own": (entry(label="Catastrophizing"), "unknown_label"),
    "a label in other letters": (entry(label="labeling"), "unknown_label"),
    "no label": (entry(label=None), "unknown_label"),
    "a list for a text": (entry(quote=["I am a failure"]), "no_text_quote"),
    "one part more": (changed(thoughts="None"), "unknown"),
    "one field more": (entry(certainty=0.9), "unknown"),
}


@pytest.mark.parametrize(("text", "missed"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_reply_has_its_class_and_is_said_as_it_is(text: str, missed: str) -> None:
    found = read_form(FORM, text)
    assert (found.missed, found.said, found.hidden) == (missed, text, ())


def test_a_reply_that_keeps_the_form_is_said_as_text_and_kept_as_written() -> None:
    found = read_form(FORM, changed())
    assert found.missed is None
    assert found.said == (
        "That sounds hard.\n\nDistortion: Labeling\nI am a failure\nA test is one day.\n\n"
        "You can look at it again."
    )
    assert found.hidden == ((AS_WRITTEN, changed()),)
    assert written(FORM, found.said, found.hidden) == changed()
    assert entries_of(changed(), "distortions.label") == ["Labeling"]
    for other in ("not json", "[1]", "5", '{"distortions": 5}', '{"distortions": [5]}', None):
        assert entries_of(other, "distortions.label") == []  # imported as it is


def test_what_is_hidden_stays_hidden_even_where_the_form_is_missed() -> None:
    parts = [{"name": "thinking"}, {"name": "answer", "shown": True}]
    form = Form.model_validate({"written": "json", "parts": parts})
    whole = {"thinking": "SECRET", "answer": "What happened then?"}
    kept = read_form(form, json.dumps(whole))
    missed = read_form(form, json.dumps(whole | {"more": "SECRET"}))
    around = read_form(form, f"Sure! {json.dumps(whole)}")
    assert kept.said == missed.said == around.said == "What happened then?"
    text = json.dumps(whole)
    for broken in (text[:40], f"{text}{text}", text.replace('"answer"', '"thinking"'), "SECRET"):
        found = read_form(form, broken)
        assert (found.said, found.missed in ("no_json", "around")) == ("", True)
    assert (kept.missed, missed.missed, around.missed) == (None, "unknown", "around")
    assert ("thinking", "SECRET") in kept.hidden


@pytest.mark.parametrize(
    ("quotation", "quoted"),
    [
        ("I am a failure", True),
        ('"I am a failure," I thought.', True),
        ("i AM  a\nfailure", True),
        ("I am a success", False),
        ("...", False),
        ("failure I am", False),
        ("a", True),
        ("e", False),
        ("ail", False),
        ("I am a fail", False),
    ],
)
def test_a_quotation_is_word_for_word(quotation: str, quoted: bool) -> None:
    assert is_quoted(quotation, CASE) is quoted
    fault = misquoted(FORM, entry(quote=quotation), CASE)
    assert fault == (None if quoted else "not_quoted_quote")


@pytest.mark.parametrize("prose", ["free", "letters"])
def test_what_follows_the_schema_keeps_the_form(prose: Any) -> None:
    role = Role(endpoint="x", prose=prose)
    schema = schema_of(FORM, role, load_language(Prompts()), CASE)
    model = ScriptedModel(ScriptedEndpoint(kind="scripted"))
    for seed in range(30):
        reply = model.complete(Request((), role.sampling, seed, schema))
        assert reply.finish is Finish.STOP
        assert read_form(FORM, reply.text).missed is None
        if prose == "letters":  # it quotes whole sentences, since it could not copy one
            assert misquoted(FORM, reply.text, CASE) is None


PART = {"name": "a", "shown": True}
LIST = {"entries": [1, 2], "fields": [{"name": "b"}]}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"written": "json"}, "expected some with `written: json`"),
        ({"parts": [{"name": "a", "shown": True}]}, "expected one with `written: labels`"),
        (
            {"written": "json", "parts": [{"name": "a", "label": "A:", "shown": True}]},
            "expected none with `written: json`",
        ),
        (
            {"parts": [PART | LIST | {"label": "A:"}]},
            "expected none but with `written: json`",
        ),
        (
            {"written": "json", "parts": [{"name": "a", "shown": True, "entries": [1, 2]}]},
            "fields: expected some with `entries`",
        ),
        (
            {"written": "json", "parts": [PART | LIST | {"entries": [3, 2]}]},
            "expected [fewest, most]",
        ),
        ({"written": "json", "parts": [{"name": AS_WRITTEN, "shown": True}]}, "another name"),
    ],
)  # fmt: skip
def test_a_form_that_cannot_be_is_refused(form: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected.replace("[", r"\[")):
        Form.model_validate(form)
