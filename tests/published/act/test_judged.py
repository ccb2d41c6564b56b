"""A judge's text in every way in which the forms were filled in, and what is wrong with others."""

from __future__ import annotations

import re

import pytest

from cbt_ray.published.act.judged import FORMS, read_judged
from tests.published.act.clone import judged

FORM = judged(act_3=0, tes_9=1)
ITEMS = 25 + 9


def wordy(text: str) -> str:
    """As the blank form has it: the number on the line behind the item's words."""
    return re.sub(r": Rating: (\d)", r": The therapist does 3 things.\nRating: \1", text)


@pytest.mark.parametrize(
    "text",
    [
        FORM,
        FORM.replace(": Rating: ", ": "),
        FORM.replace("item_", "- item_"),
        f"```\n{FORM}\n```\n",
        re.sub(r"(?m)^(Output Form.*)$", r"**\1**", FORM),
        FORM.replace("Output Form: ", "# "),
        re.sub(r"(?m)^Output.*\n", "", FORM),
        FORM.replace(
            "Output Form: ACT Fidelity Measure (ACT-FM)", "<ACT_Fidelity_Measure>"
        ).replace(
            "Output Form: Therapist Empathy Scale (TES)",
            "</ACT_Fidelity_Measure>\n<Therapist_Empathy_Scale>",
        ),
        FORM.replace("\nOutput Form: T", "</ACT-FM>\n<TES>\nRating:\nT"),
        "\n".join(reversed(FORM.split("\n\n"))).replace("Output Form: A", "\nOutput Form: A"),
        FORM.replace("item_1:", "Stance of the ACT\n\nitem_1:", 1),
        wordy(FORM),
    ],
)
def test_each_way_to_fill_in_the_forms(text: str) -> None:
    found = read_judged("a.txt", text)
    assert len(found.scores) == ITEMS
    assert (found.scores["act-fm.item_3"], found.scores["act-fm.item_25"]) == (0, 2)
    assert (found.scores["tes.item_9"], found.scores["tes.item_1"]) == (1, 5)
    assert (found.remarks, dict(found.reasons)) == ((), {})


def test_a_form_begins_where_its_title_stands() -> None:
    found = read_judged("a.txt", FORM)
    assert dict(found.begins) == {"act-fm": 1, "tes": 28}
    assert FORM.split("\n")[27].endswith("(TES)")


@pytest.mark.parametrize(
    ("text", "item", "reason", "said"),
    [
        (
            judged(act_3=4),
            "act-fm.item_3",
            "out_of_scale",
            "a.txt:4: act-fm.item_3: expected 0 to 3, found 4",
        ),
        (
            judged(tes_2=0),
            "tes.item_2",
            "out_of_scale",
            "a.txt:30: tes.item_2: expected 1 to 7, found 0",
        ),
        (
            judged() + "\nitem_9: Rating: 6",
            "tes.item_9",
            "two_scores",
            "a.txt:38: tes.item_9: has two scores, neither of which counts",
        ),
        (
            judged().replace("item_3: Rating: 2\n", ""),
            "act-fm.item_3",
            None,
            "a.txt: act-fm: no score of item 3",
        ),
        (judged() + "\nitem_10: Rating: 6", "tes.item_10", None, "a.txt:38: tes has no item 10"),
        (
            judged().replace(
                "item_8: Rating: 5\nitem_9: Rating: 5", "item_8: Rating: \nitem_9: n/a"
            ),
            "tes.item_8",
            None,
            "a.txt: tes: no score of items 8, 9",
        ),
    ],
)
def test_what_is_wrong_with_a_score_is_named(
    text: str, item: str, reason: str | None, said: str
) -> None:
    found = read_judged("a.txt", text)
    assert [str(remark) for remark in found.remarks] == [said]
    assert item not in found.scores
    assert found.reasons.get(item) == reason


@pytest.mark.parametrize("text", ["", "I cannot rate this.", "item_1: none\nitem_2:"])
def test_a_text_without_ratings_is_not_imported(text: str) -> None:
    (remark,) = read_judged("a.txt", text).remarks
    assert remark.lost


def test_the_forms_are_those_of_the_scales() -> None:
    from cbt_ray.prompts import Prompts
    from cbt_ray.rating.scale_file import load_scale

    for form in FORMS:
        items = load_scale(Prompts(), form.scale).items
        assert [f"{form.scale}.{item.id}" for item in items] == [
            form.item(number) for number in range(1, form.items + 1)
        ]
        assert {tuple(item.ends) for item in items} == {(form.lowest, form.highest)}
