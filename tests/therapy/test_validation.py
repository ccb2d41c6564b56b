"""Agreement of the flags with labels by reading: the record, what it is bound to, and that it is
true.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.therapy import validation
from cbt_ray.therapy.flags import NAMES, fired, flags_of
from cbt_ray.therapy.language import FlagRules
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.therapy.validation import (
    RULES,
    Agreement,
    detectors,
    doubt,
    foreign,
    records,
    rules_digest,
)
from tests.calls import A_SECOND, calls_of
from tests.therapy.published import labels, published
from tests.therapy.spoken import ENGLISH, flag_rules

RULE_FIELDS = {field for fields in RULES.values() for field in fields}


def test_labels_are_complete() -> None:
    rows = labels()
    assert len(rows) == 80
    assert len({row["file"] for row in rows}) == 80
    assert all(row[name] in {"0", "1"} for row in rows for name in NAMES)
    assert all(len(row["file"]) == 16 and row["patient"] in {"p1", "p2"} for row in rows)


def test_record_counts_the_labels() -> None:
    rows, (_, held) = labels(), records()
    assert list(held) == list(NAMES)
    for name in NAMES:
        assert held[name].all.sessions == 80
        assert held[name].all.positives == sum(row[name] == "1" for row in rows)
        assert held[name].check.sessions == 40
        assert held[name].check.positives == sum(
            row[name] == "1" for row in rows if row["patient"] == "p2"
        )


def test_record_is_what_the_published_sessions_give() -> None:
    sessions = published()
    assert len(sessions) == 80
    rules, (_, held) = flag_rules(), records()
    found = [(one.label, flags_of(one.session, one.stop, rules)) for one in sessions]
    for name in NAMES:
        pairs = [(label["patient"], label[name] == "1", name in flags) for label, flags in found]
        assert held[name].all == Agreement.of(
            (labelled, flagged) for _, labelled, flagged in pairs
        ), name
        assert held[name].check == Agreement.of(
            (a, b) for patient, a, b in pairs if patient == "p2"
        ), name


def test_record_by_rule_is_what_the_published_sessions_give() -> None:
    held = records()[1]
    found = [(one.label, fired(one.session, one.stop, flag_rules())) for one in published()]
    for name in NAMES:
        rules = {rule for _, flags in found for rule in flags.get(name, ())}
        counted = {
            rule: (
                sum(rule in flags.get(name, ()) for _, flags in found),
                sum(rule in flags.get(name, ()) for label, flags in found if label[name] == "1"),
            )
            for rule in rules
        }
        assert held[name].by_rule == counted, name


def test_the_published_sessions_are_in_the_language_of_the_record() -> None:
    assert (
        foreign(((one.label["group"], one.session, one.stop) for one in published()), ENGLISH)
        is None
    )


GERMAN = (
    "Ich habe wieder schlecht geschlafen, und in der Wohnung sieht es furchtbar aus. Was soll ich "
    "denn machen?",
    "Das klingt nach einer schweren Woche. Was ging Ihnen durch den Kopf, als Sie heute aufgewacht "
    "sind?",
)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            (
                "I slept badly again, and the flat is a mess.",
                "That sounds hard. What went through your mind this morning?",
            ),
            None,
        ),
        (GERMAN, "measured on sessions in English, which these are not: "),
        (("", "..."), "no session was held whose language could be recognized"),
    ],
)
def test_figures_hold_for_the_language_that_they_were_measured_in(
    texts: tuple[str, str], said: str | None
) -> None:
    held = Session(
        "Ada",
        1,
        "all",
        "",
        (Turn(Speaker.PATIENT, texts[0]), Turn(Speaker.THERAPIST, texts[1])),
        "",
    )
    unlike = foreign([("arm", held, None)], ENGLISH)
    assert (unlike is None) if said is None else str(unlike).startswith(said)
    for row in detectors(flag_rules(), NAMES, unlike=unlike):
        assert (row.labelled is None) == (said is not None)
        assert row.status == "unvalidated" if said else True
        assert (row.reason == unlike) if said else True
        assert all(rule.precision is None for rule in row.rules) == (said is not None)


def test_one_arm_in_another_language_is_enough() -> None:
    english = Session(
        "Ada",
        1,
        "all",
        "",
        (Turn(Speaker.PATIENT, "I do not know what to do about it, and you?"),),
        "",
    )
    german = Session("Ada", 1, "all", "", (Turn(Speaker.PATIENT, GERMAN[0]),), "")
    assert foreign([("one", english, None)], ENGLISH) is None
    assert "of the words of other are" in str(
        foreign([("one", english, None), ("other", german, None)], ENGLISH)
    )


def test_a_rule_that_never_fired_on_labels_is_not_validated_though_its_flag_is() -> None:
    """A flag's figures say nothing of those of its rules that no labelled session set off."""
    found: list[dict[str, tuple[str, ...]]] = [
        {"template_leakage": ("<|",)},
        {"template_leakage": ("<|", "speaker label")},
    ]
    (row,) = detectors(flag_rules(), ["template_leakage"], found)
    rules = {rule.rule: rule for rule in row.rules}
    assert row.status == "validated"
    assert (rules["<|"].sessions, rules["<|"].precision) == (2, None)
    assert rules["<|"].reason == "it fired in no labelled session"
    assert (
        rules["speaker label"].sessions,
        rules["speaker label"].precision,
        rules["speaker label"].reason,
    ) == (
        1,
        1.0,
        None,
    )


def test_record_is_of_the_default_rules() -> None:
    held = records()[1]
    assert {name: record.rules for name, record in held.items()} == {
        name: rules_digest(name, flag_rules()) for name in NAMES
    }


def test_who_labelled_is_said_plainly() -> None:
    assert {row.labelled_by for row in detectors(flag_rules(), NAMES)} == {
        "a language model that read each transcript, not clinicians"
    }


def test_detectors_by_default() -> None:
    rows = {row.flag: row for row in detectors(flag_rules(), NAMES)}
    assert {name: row.status for name, row in rows.items()} == {
        "few_therapist_turns": "validated",
        "early_end": "validated",
        "repetition": "unvalidated",
        "role_confusion": "validated",
        "template_leakage": "validated",
    }
    assert rows["repetition"].reason == "recall 0.75 on 80 labelled sessions, expected at least 0.8"
    assert all(row.reason is None for row in rows.values() if row.status == "validated")
    repetition = rows["repetition"]
    assert repetition.labelled
    assert repetition.labelled.recall_interval
    low, high = repetition.labelled.recall_interval
    assert (round(low, 3), round(high, 3)) == (0.409, 0.929)
    assert repetition.check
    assert repetition.check.n == 40


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({"few_therapist_turns": 4}, {"few_therapist_turns"}),
        ({"early_end": 4}, {"early_end"}),
        ({"repeated_run": 6}, {"repetition"}),
        ({"role_confusion": 0.2}, {"role_confusion"}),
        ({"patient_voice": ("my dog",)}, {"role_confusion"}),
        ({"template_leakage": ("[INST]",)}, {"template_leakage"}),
        ({"patient_labels": ("patient",)}, {"role_confusion", "template_leakage"}),
        ({"therapist_name": "Mira"}, set()),
    ],
)
def test_changed_rules_are_unvalidated(change: dict[str, Any], flags: set[str]) -> None:
    rows = {row.flag: row for row in detectors(flag_rules(**change), NAMES)}
    assert {
        name for name in NAMES if "the study changes its rules" in (rows[name].reason or "")
    } == flags
    assert all(rows[name].labelled is None and rows[name].check is None for name in flags)


def test_every_rule_of_the_block_is_bound_to_a_flag() -> None:
    assert set(FlagRules.model_fields) - {"therapist_name"} == RULE_FIELDS


def test_flag_that_nobody_labelled() -> None:
    [row] = detectors(flag_rules(), ["boredom"])
    assert (row.status, row.reason, row.labelled) == (
        "unvalidated",
        "never compared with labels",
        None,
    )


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ((8, 2, 2, 68), None),
        ((8, 2, 3, 67), "recall 0.73 on 80 labelled sessions, expected at least 0.8"),
        ((8, 3, 2, 67), "precision 0.73 on 80 labelled sessions, expected at least 0.8"),
        (
            (1, 3, 2, 74),
            "precision 0.25 and recall 0.33 on 80 labelled sessions, expected at least 0.8",
        ),
        ((0, 0, 0, 80), "none of the 80 labelled sessions has it"),
        ((0, 1, 0, 79), "none of the 80 labelled sessions has it"),
        ((0, 0, 4, 76), "recall 0.00 on 80 labelled sessions, expected at least 0.8"),
    ],
)
def test_bar(
    counts: tuple[int, int, int, int],
    why: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    held = dict(zip(names, counts, strict=True))
    entry = {
        "rules": rules_digest("early_end", flag_rules()),
        "all": held,
        "check": held,
        "by_rule": {},
    }
    path = tmp_path / "validation.yaml"
    path.write_text(yaml.safe_dump({"labelled_by": "us", "flags": {"early_end": entry}}))
    monkeypatch.setattr(validation, "_RECORD", path)
    records.cache_clear()
    try:
        assert doubt("early_end", flag_rules()) == why
        assert detectors(flag_rules(), ["early_end"])[0].reason == why
    finally:
        records.cache_clear()


def test_flags_of_600_sessions_take_less_than_a_second_and_a_half() -> None:
    sessions = published()
    calls = calls_of(lambda: [flags_of(one.session, one.stop, flag_rules()) for one in sessions])
    assert calls / len(sessions) * 600 < 1.5 * A_SECOND
