"""Probes as a study makes them: units like all ratings, blind, the same sessions for all.

And what judges of known kinds show.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.analysis.judge.robustness import Robustness
from cbt_ray.errors import InputError
from cbt_ray.llm import models
from cbt_ray.llm.request import Reply, Request
from cbt_ray.planning.estimate import estimate
from cbt_ray.rating.probe import VIEW
from cbt_ray.stages.probe import probe_rows
from cbt_ray.stages.rate import rate_sessions
from cbt_ray.study import load_study
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.unit import Stage, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import for_terminal
from cbt_ray.work.survey import State
from tests.stages import probed
from tests.stages.probed import (
    EVERY,
    RuledJudge,
    by_number,
    by_style,
    inputs_of,
    opened,
    reads,
    robustness_of,
    session_of,
    study_file,
)
from tests.therapy.spoken import WORDS

pytestmark = pytest.mark.slow


def judged_by(judge: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(models, "language_model", lambda *_: judge)
    return judge


def verdicts(found: Robustness) -> dict[str, str]:
    return {name: row.verdict for name, row in found.probes.items()}


# ---- judges of known kinds -----------------------------------------------------------------------


def test_judge_that_reads_passes_every_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(RuledJudge(reads, by_number), monkeypatch)
    found = robustness_of(opened(study_file(tmp_path, EVERY)))
    assert verdicts(found) == dict.fromkeys(EVERY, "passed")
    assert (found.verdict, found.notices, found.sessions) == ("passed", [], 48)
    homework = found.probes["no_homework"].details
    assert (homework.item_fall, homework.others_fall) == (7, 0)


def test_judge_that_always_says_the_same_fails_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(RuledJudge(lambda *_: 6), monkeypatch)
    found = robustness_of(opened(study_file(tmp_path, EVERY)))
    must = ("empty", "shuffled", "swapped", "no_homework", "halo")
    assert {name: verdicts(found)[name] for name in must} == dict.fromkeys(must, "failed")
    assert "failed" not in {
        verdicts(found)["guess_plain"],
        verdicts(found)["guess_masked"],
        verdicts(found)["masked"],
    }
    assert found.notices[0].id == "judge_failed"
    assert "fails 5 of 8 probes" in found.notices[0].text


def test_judge_that_follows_style_is_caught_by_its_guess_and_by_masking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(
        RuledJudge(lambda _item, place, text: 3 + 5 * ("**" in text) + place % 2, by_style),
        monkeypatch,
    )
    found = robustness_of(opened(study_file(tmp_path, ["masked", "guess_plain", "guess_masked"])))
    assert verdicts(found) | {
        "masked": "failed",
        "guess_plain": "failed",
        "guess_masked": "passed",
    } == verdicts(found)
    assert found.probes["guess_plain"].details.right == {"instruct": 1, "tuned": 1}
    assert found.probes["masked"].details.change == {
        "tuned": pytest.approx(-5 / 9),
        "instruct": 0,
    }


def test_both_views_serve_where_both_are_rated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = judged_by(RuledJudge(lambda _item, place, text: 3 + 5 * ("**" in text)), monkeypatch)
    found = robustness_of(opened(study_file(tmp_path, ["masked"], views=["plain", "masked"])))
    assert len(judge.requests) == 2 * 48, "no further call"
    row = found.probes["masked"]
    assert (row.verdict, row.n, row.chains, row.scheduled) == ("failed", 48, 8, 48)


# ---- units ---------------------------------------------------------------------------------------


def test_probes_are_units_of_their_own_and_rated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = judged_by(RuledJudge(reads, by_number), monkeypatch)
    bench = opened(study_file(tmp_path, EVERY, sessions=3))
    rate_sessions(bench)
    keys = [bench.keys.probe(*probe) for probe in bench.keys.probes()]
    assert len(keys) == len(set(keys)) == 2 * 3 * len(EVERY)
    assert set(keys) <= set(bench.keys.all()[Stage.RATINGS])
    assert not set(keys) & set(bench.keys.ratings())
    for (session, name), key in zip(bench.keys.probes(), keys, strict=True):
        unit = bench.store.get(key)
        assert unit is not None
        assert (unit.status, unit.content["view"], key.id) == (
            Status.DONE,
            VIEW + name,
            f"{session.id}.probe.{name}.j1",
        )
        assert unit.provenance["determinants"]["prompts"]
    assert bench.survey(Stage.RATINGS).counts(Stage.RATINGS) == Counter(
        {State.DONE: 48 + len(keys)}
    )
    asked = len(judge.requests)
    rate_sessions(bench)
    assert len(judge.requests) == asked, "nothing is owed"


def test_same_sessions_in_every_arm_and_for_every_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(RuledJudge(reads), monkeypatch)
    bench = opened(study_file(tmp_path, EVERY, sessions=5))
    rate_sessions(bench)
    rows = probe_rows(bench, bench.survey(Stage.SESSIONS, Stage.RATINGS))
    places = {
        (row.arm, row.probe): {
            (r.patient, r.session) for r in rows if (r.arm, r.probe) == (row.arm, row.probe)
        }
        for row in rows
    }
    assert len(places) == 2 * len(EVERY)
    assert len({frozenset(found) for found in places.values()}) == 1
    drawn = next(iter(places.values()))
    assert len(drawn) == 5
    assert len({patient for patient, _ in drawn}) == 4, "every patient before any a second time"


def test_probes_leave_ordinary_ratings_and_their_keys_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = judged_by(RuledJudge(reads), monkeypatch)
    bench = opened(study_file(tmp_path, []))
    rate_sessions(bench)
    asked = len(judge.requests)
    with_probes = Bench(
        load_study(study_file(tmp_path, ["empty"], sessions=1)), for_terminal(), inline=True
    )
    assert with_probes.keys.ratings() == bench.keys.ratings()
    assert len(with_probes.survey(Stage.RATINGS).owed(Stage.RATINGS)) == 2
    rate_sessions(with_probes)
    assert len(judge.requests) == asked + 2


def test_no_request_of_a_probe_tells_an_arm_a_model_a_kind_or_a_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = judged_by(RuledJudge(reads, by_number), monkeypatch)

    def gives_away(patient: str, number: int, tuned: bool) -> Session:
        session = session_of(patient, number, tuned=tuned)
        first = Turn(Speaker.THERAPIST, f"{session.turns[1].text} I am FIRST, first-tuned.")
        return Session(
            patient, number, "all", "", (session.turns[0], first, *session.turns[2:]), ""
        )

    bench = opened(study_file(tmp_path, EVERY, sessions=4), gives_away)
    rate_sessions(bench)
    assert len(judge.requests) == 48 + 2 * 4 * (len(EVERY) - 1 + 11)
    words = ["first-tuned", "first-instruct", "tuned", "instruct", "probe", "shuffled", "swapped"]
    hidden = [*words, *(part for key in bench.keys.sessions() for part in (key.id, key.h16))]
    for request in judge.requests:
        seen = "\n".join(message.content for message in request.messages) + str(request.schema)
        assert "I am [name], [name]." in seen or WORDS.silence in seen
        assert [
            word for word in hidden if re.search(rf"(?i)(?<!\w){re.escape(word)}(?!\w)", seen)
        ] == []


def test_probes_are_mixed_among_the_ratings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Sequence[Any]] = []
    monkeypatch.setattr(
        Bench, "carry_out", lambda _self, _stage, _work, given, *_: jobs.extend(given)
    )
    rate_sessions(opened(study_file(tmp_path, EVERY, sessions=24)))
    kinds = [job[2].startswith(VIEW) for job in jobs]
    assert sum(kinds) == 48 * len(EVERY)
    assert sum(a != b for a, b in pairwise(kinds)) > 48


def shown(judge: RuledJudge, name: str, bench: Bench) -> list[str]:
    """The transcripts that a probe shows, made anew from its units' seeds: what the judge was asked
    under that probe alone.
    """
    judge.requests.clear()
    for session, probe in bench.keys.probes():
        if probe == name:
            bench.store.delete(str(bench.keys.probe(session, probe)))
    rate_sessions(bench)
    return [request.messages[-1].content for request in judge.requests]


def test_each_probe_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judged_by(RuledJudge(reads, by_number), monkeypatch)
    bench = opened(study_file(tmp_path, EVERY, sessions=4))
    rate_sessions(bench)
    assert all(
        WORDS.silence in text and "What went through" not in text
        for text in shown(judge, "empty", bench)
    )
    assert all(
        "homework" not in text and "What went through" in text
        for text in shown(judge, "no_homework", bench)
    )
    assert not any("**" in text for text in shown(judge, "masked", bench))
    assert sum("**" in text for text in shown(judge, "guess_plain", bench)) == 4
    assert not any("**" in text for text in shown(judge, "guess_masked", bench))
    for text in shown(judge, "swapped", bench):
        speakers = {
            who: set(re.findall(rf"{who}: .*?topic-(\w+)-", text))
            for who in ("Patient", "Therapist")
        }
        assert all(len(found) == 1 for found in speakers.values())
        assert speakers["Patient"] != speakers["Therapist"]
    assert len(shown(judge, "halo", bench)) == 8 * 11


# ---- what cannot be probed -----------------------------------------------------------------------


def odd(patient: str, number: int, tuned: bool) -> Session:
    """Sessions without homework, with one therapist turn, with none."""
    whole = session_of(patient, number, tuned=tuned)
    bare = tuple(
        Turn(turn.speaker, turn.text.split(" For homework")[0].replace("I did the homework. ", ""))
        for turn in whole.turns
    )
    return Session(
        patient, number, "all", "", {1: bare, 2: bare[:2], 3: bare[:1]}.get(number, whole.turns), ""
    )


def test_what_cannot_be_probed_says_why_and_costs_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = judged_by(RuledJudge(reads), monkeypatch)
    which = ["empty", "shuffled", "swapped", "no_homework"]
    bench = opened(study_file(tmp_path, which), odd)
    rate_sessions(bench)
    rows = probe_rows(bench, bench.survey(Stage.SESSIONS, Stage.RATINGS))
    why = {(row.probe, row.session): row.reason for row in rows}
    assert [why["no_homework", number] for number in (1, 2, 3, 4)] == [
        "no_homework",
        "no_homework",
        "nothing_to_rate",
        None,
    ]
    assert [why["shuffled", number] for number in (1, 2, 3, 4)] == [
        None,
        "single_turn",
        "nothing_to_rate",
        None,
    ]
    assert [why["swapped", number] for number in (1, 2, 3, 4)] == [
        None,
        None,
        "nothing_to_rate",
        None,
    ]
    assert all((row.total is None) == (row.reason is not None) for row in rows)
    assert len(judge.requests) == 8 * 5 + sum(row.reason is None for row in rows)
    found = robustness_of(bench)
    assert found.probes["no_homework"].unanswered == {"no_homework": 16, "nothing_to_rate": 8}
    assert found.probes["no_homework"].n == 24


def test_one_patient_has_nobody_elses_therapist_and_one_kind_is_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(RuledJudge(reads), monkeypatch)
    monkeypatch.setattr(probed, "PATIENTS", probed.PATIENTS[:1])
    file = study_file(tmp_path, ["swapped", "guess_plain"], sessions=2)
    bench = opened(file)
    rate_sessions(bench)
    rows = probe_rows(bench, bench.survey(Stage.SESSIONS, Stage.RATINGS))
    assert {row.reason for row in rows if row.probe == "swapped"} == {"no_donor"}
    text = file.read_text().replace("tuned: true", "tuned: false")
    file.write_text(f"{text}\nanalysis: {{contrasts: []}}\n")
    alike = Bench(load_study(file), for_terminal(), inline=True)
    assert {name for _, name in alike.keys.probes()} == {"swapped"}


def test_probe_of_a_session_that_was_not_held_is_not_reached_and_one_that_failed_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Useless(RuledJudge):
        def complete(self, request: Request) -> Reply:
            reply = super().complete(request)
            return (
                Reply("", reply.finish, 1, 1, "ruled", 0.0)
                if WORDS.silence in request.messages[-1].content
                else reply
            )

    judged_by(Useless(reads), monkeypatch)
    bench = opened(study_file(tmp_path, ["empty", "swapped"]))
    lost = bench.keys.chain(*bench.keys.chains()[0])[5]
    bench.store.delete(str(lost))
    bench.store.put(Unit(lost, {}, Status.REJECTED, "empty", made_from=inputs_of(bench, lost)))
    rate_sessions(bench)
    survey = bench.survey(Stage.SESSIONS, Stage.RATINGS)
    rows = {(row.session_key, row.probe): row.reason for row in probe_rows(bench, survey)}
    assert rows[str(lost), "empty"] == rows[str(lost), "swapped"] == "not_reached"
    (gets,) = [session for session, donor in bench.keys.donors.items() if donor == lost]
    assert rows[str(gets), "swapped"] == "not_reached", "its other therapist never spoke"
    assert rows[str(gets), "empty"] == "judge_failed:empty"
    assert survey.owed(Stage.RATINGS) == []


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        ({"which": ["empty", "empty"]}, "raters.judge.probes.which: expected each probe once"),
        ({"which": ["drunk"]}, "raters.judge.probes.which"),
        ({"which": ["empty"], "sessions": 0}, "raters.judge.probes.sessions"),
        ({"which": ["empty"], "empty_at_most": 2}, "raters.judge.probes.empty_at_most"),
        (
            {"which": ["empty"]},
            "raters.judge.probes: expected `which: []`, since replicates is 0",
        ),
    ],
)
def test_faulty_block_is_refused_with_its_field(
    tmp_path: Path, probes: dict[str, Any], said: str
) -> None:
    file = study_file(tmp_path, [], probes=probes, replicates=0)
    with pytest.raises(InputError, match=re.escape(said)):
        load_study(file)


def test_item_that_the_scale_lacks_is_refused_before_anything_is_paid_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(tmp_path, [], probes={"which": ["no_homework"], "homework_item": "empathy"})
    assert run(["generate", str(file), "--inline"]) == 2
    assert "raters.judge.probes.homework_item: expected an item of ctrs" in capsys.readouterr().err


# ---- plan and the whole --------------------------------------------------------------------------


def test_plan_counts_the_calls_of_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judged_by(RuledJudge(reads, by_number), monkeypatch)
    for folder, which in ((tmp_path / "none", []), (tmp_path / "all", EVERY)):
        folder.mkdir()
        bench = opened(study_file(folder, which, sessions=4))
        judge.requests.clear()
        rate_sessions(bench)
        planned = sum(one.calls for one in estimate(bench.study) if one.stage is Stage.RATINGS)
        assert planned == len(judge.requests)


def test_status_and_analysis_of_a_study_with_probes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(RuledJudge(lambda *_: 6), monkeypatch)
    file = study_file(tmp_path, EVERY, sessions=2)
    bench = opened(file)
    assert run(["evaluate", str(file), "--inline"]) == 0
    unit = bench.store.get(bench.keys.analysis())
    assert unit is not None
    assert len(unit.content["probes"]) == 2 * 2 * len(EVERY)
    assert {row["view"] for row in unit.content["rows"]} == {"plain"}, (
        "probes are no ratings of a session"
    )
    analysis = unit.content["analysis"]
    assert analysis["robustness"]["verdict"] == "failed"
    assert "judge_failed" in [notice["id"] for notice in analysis["notices"]]
