"""The whole result: degenerate data end in a sentence, counts add up, the document is plain
JSON.
"""

import json
from collections.abc import Sequence
from functools import partial

import pytest

from cbt_ray.analysis import SCHEMA_VERSION, Analysis, ScoreRow, Settings, analyse
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.effect.contrast import Difference
from cbt_ray.analysis.flow import Flagged
from cbt_ray.analysis.settings import Policy
from tests.analysis.tables import ITEMS, Key, made_up

pytestmark = pytest.mark.slow

DEGENERATE = {
    "demo": made_up(),
    "no row": [],
    "nothing rated": made_up(reason=lambda key: "judge_failed"),
    "one arm": made_up(variants=("tuned",)),
    "constant": made_up(lambda key, item: 4),
    "one patient": made_up(patients=("ada",)),
    "one session": made_up(sessions=1),
    "one row": made_up(variants=("tuned",), patients=("ada",), sessions=1),
    "one arm unrated": made_up(reason=lambda key: "rejected:empty" if key[1] == "tuned" else None),
    "patients do not overlap": made_up(
        reason=lambda key: "owed" if (key[1] == "tuned") == (key[2] == "ada") else None
    ),
    "explained entirely": made_up(lambda key, item: 3 + (key[1] == "tuned") + key[3]),
    "items missing": [
        ScoreRow(**{**row.to_json(), "items": {}, "total": None}) for row in made_up()
    ],
}


@pytest.mark.parametrize("rows", DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("unrated", ["missing", "lowest"])
def test_degenerate_data_end_in_a_reason_and_never_in_an_exception(
    rows: list[ScoreRow], unrated: Policy
) -> None:
    result = analyse(rows, Settings(unrated=unrated))
    document = to_json(result)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert to_json(from_json(Analysis, document)) == document
    assert result.schema_version == SCHEMA_VERSION
    for family in vars(result.contrasts).values():
        assert family.rows or family.reason
        assert all((row.low is None) == (row.reason is not None) for row in family.rows)
    for model in filter(None, vars(result.models).values()):
        assert model.status == "fitted" or model.reason
    assert all(row.p is not None or row.reason for row in result.tests)


def test_it_is_a_pure_function() -> None:
    assert analyse(made_up()) == analyse(made_up())


def test_rows_survive_json() -> None:
    for row in made_up():
        assert ScoreRow.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_flow_counts_each_step_and_reason() -> None:
    reasons = {1: "judge_failed", 2: "rejected:empty", 3: "not_reached", 4: "owed"}
    rows = made_up(
        reason=lambda key: reasons.get(key[3]) if key[1] == "tuned" else None, sessions=5
    )
    row = next(row for row in analyse(rows).flow if row.arm == "smollm2-tuned")
    assert (row.scheduled, row.reached, row.held, row.rated, row.owed) == (10, 6, 4, 2, 2)
    assert row.unrated == {"judge_failed": 2, "not_reached": 2, "owed": 2, "rejected:empty": 2}


def test_an_owed_rating_of_a_held_session_counts_as_held() -> None:
    rows = [
        ScoreRow(**{**row.to_json(), "messages": 8}) for row in made_up(reason=lambda key: "owed")
    ]
    assert [row.held for row in analyse(rows).flow] == [6, 6]


def test_policies_stand_side_by_side() -> None:
    rows = made_up(
        lambda key, item: 6 if key[1] == "tuned" else 5,
        lambda key: "not_reached" if key[1:] == ("tuned", "ada", 3) else None,
    )
    result = analyse(rows)
    missing, lowest, bounds = (
        vars(result.policies)[name][0] for name in ("missing", "lowest", "bounds")
    )
    assert missing.estimate == pytest.approx(3)
    assert lowest.estimate == pytest.approx(((18 + 18 + 3) / 3 + 18) / 2 - 15)
    assert bounds.low == pytest.approx(lowest.estimate)
    assert bounds.high == pytest.approx(((18 + 18 + 30) / 3 + 18) / 2 - 15)
    assert estimates(result.contrasts.primary.rows) == estimates(result.policies.missing)
    lowest_first = analyse(rows, Settings(unrated="lowest")).contrasts.primary.rows
    assert estimates(lowest_first) == estimates(result.policies.lowest)


def estimates(rows: Sequence[Difference]) -> list[float | None]:
    return [row.estimate for row in rows]


def one_unrated(reason: str, key: Key) -> str | None:
    return reason if key[1:] == ("tuned", "ada", 3) else None


def test_neither_a_judges_failure_nor_owed_work_becomes_the_lowest_score() -> None:
    for reason in ("judge_failed", "owed"):
        rows = made_up(lambda key, item: 6, partial(one_unrated, reason))
        assert analyse(rows).policies.lowest[0].estimate == 0


def test_flags_are_counted_and_exclude_nothing() -> None:
    result = analyse(made_up())
    assert result.flags[0] == Flagged("smollm2-instruct", 6, 2, {"early_end": 2})
    assert result.counts.rated == 12


def test_other_views_stand_beside_the_headline() -> None:
    masked = [
        ScoreRow(**{**row.to_json(), "view": "masked"}) for row in made_up(lambda key, item: 9)
    ]
    result = analyse(
        [*made_up(), *masked], Settings(items=ITEMS, arms=("smollm2-tuned", "smollm2-instruct"))
    )
    assert result.view == "plain"
    assert result.counts.scheduled == 12
    assert result.views["masked"].scores[0].total.mean == 27
    assert [arm.arm for arm in result.arms] == ["smollm2-tuned", "smollm2-instruct"]


def test_notices_say_what_the_scores_cannot() -> None:
    result = analyse(made_up(reason=lambda key: "owed" if key[3] == 3 else None))
    notices = {notice.id: notice.text for notice in result.notices}
    assert notices["owed"] == "Owed: 4 of 12 scheduled sessions; the study has not run to its end."
    assert notices["few_patients"].startswith("2 simulated patients: fewer than 10")


def test_lees_bounds_trim_the_arm_with_more_rated_sessions() -> None:
    """Instruct lost half of its sessions: the tuned arm's better half, then its worse half, against
    what is left.
    """
    rows = made_up(
        lambda key, item: (4 + key[3]) if key[1] == "tuned" else 5,
        lambda key: "not_reached" if key[1] == "instruct" and key[3] > 2 else None,
        sessions=4,
    )
    (lee,) = analyse(rows).policies.lee
    assert (lee.trimmed, lee.share) == ("smollm2-tuned", 0.5)
    assert (lee.low, lee.high) == (pytest.approx(3 * 5.5 - 15), pytest.approx(3 * 7.5 - 15))


def test_flagged_sessions_out_is_a_sensitivity_analysis_and_not_the_headline() -> None:
    rows = made_up(lambda key, item: 9 if key[3] == 1 and key[1] == "tuned" else 5)
    result = analyse(rows)
    assert result.policies.unflagged[0].estimate == 0
    assert result.contrasts.primary.rows[0].estimate == pytest.approx(4)


def test_the_declared_judge_makes_the_headline() -> None:
    other = [
        ScoreRow(
            **{**row.to_json(), "judge": "published", "items": dict.fromkeys(ITEMS, 7), "total": 21}
        )
        for row in made_up()
    ]
    result = analyse([*made_up(), *other], Settings(judge="published"))
    assert (result.judge, result.scores[0].total.mean) == ("published", 21)
    assert analyse([*made_up(), *other]).judge == "judge"


def silent_rows(score: int) -> list[ScoreRow]:
    """One tuned session of ada's whose judge read no word of the therapist.

    All others have four.
    """
    rows = made_up(
        lambda key, item: (
            score
            if key[1:] == ("tuned", "ada", 3)
            else 4 + (key[1] == "tuned") + (key[3] + len(key[2])) % 3
        ),
        patients=("ada", "ben-li", "cy"),
    )
    silent = "smollm2-tuned/ada/3"
    return [
        ScoreRow(**{**row.to_json(), "heard": 0 if row.session_key == silent else 4})
        for row in rows
    ]


def test_ratings_of_a_session_without_a_therapists_word_are_a_policy_of_their_own() -> None:
    result = analyse(silent_rows(1))
    (all_,), (heard,) = result.policies.missing, result.policies.heard
    assert (all_.left_out, heard.left_out) == (0, 1)
    assert all_.estimate < heard.estimate
    assert estimates(result.contrasts.primary.rows) == [all_.estimate]
    (notice,) = [one for one in result.notices if one.id == "unheard"]
    assert notice.weight >= 70
    assert notice.text == (
        "Rated without a word of the therapist in the text: 1 of 18 rated sessions (smollm2-tuned: "
        "1 of 9). Without these the "
        f"difference goes: smollm2-tuned - smollm2-instruct from {all_.estimate:+.1f} to "
        f"{heard.estimate:+.1f}; by more than half its standard error."
    )


def test_where_they_move_no_headline_they_are_a_light_doubt() -> None:
    result = analyse(silent_rows(6))
    (notice,) = [one for one in result.notices if one.id == "unheard"]
    assert notice.weight < 70
    assert "moves" not in notice.text
    assert "Without these" not in notice.text


def test_where_nobody_knows_what_was_read_nothing_is_left_out() -> None:
    result = analyse(made_up())
    assert [row.left_out for row in result.policies.heard] == [0]
    assert estimates(result.policies.heard) == estimates(result.policies.missing)
    assert not [one for one in result.notices if one.id == "unheard"]


def test_the_policy_of_silent_sessions_takes_the_headlines() -> None:
    rows = [
        ScoreRow(**{**row.to_json(), "heard": 4 if row.rated else None})
        for row in made_up(reason=partial(one_unrated, "not_reached"))
    ]
    result = analyse(rows, Settings(unrated="lowest"))
    assert estimates(result.policies.heard) == estimates(result.policies.lowest)
