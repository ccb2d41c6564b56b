"""Judge robustness: does the judge read what it rates? Sessions that were spoilt on purpose,
against their ordinary ratings.

Two kinds of probe, two rules (docs/judge.md). Where the score must move (an empty, shuffled or
foreign therapist, homework taken out) the judge has to show it: below the threshold it fails. Where
nothing must move (style, the other items, a guess of the therapist's kind) it fails only where an
effect beyond the threshold is shown. What neither rule settles is `undecided`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.asked import settled
from cbt_ray.analysis.judge.measure import COMPARISONS, guess
from cbt_ray.analysis.judge.probe import (
    FAILED,
    NOT_PROBED,
    PASSED,
    UNDECIDED,
    Compared,
    Judged,
    Measured,
    ProbeRow,
    unmeasured,
)
from cbt_ray.analysis.notice import Notice
from cbt_ray.analysis.scores import ITEM, Scores
from cbt_ray.analysis.settings import Settings
from cbt_ray.count import many
from cbt_ray.study.contrast import pairs
from cbt_ray.study.probe import ProbeName
from cbt_ray.study.rater import Judge

if TYPE_CHECKING:
    import pandas as pd

WORDS = {FAILED: "failed", UNDECIDED: "undecided", PASSED: "passed", NOT_PROBED: "not probed"}
MASKED = "masked"
KEPT = ("arm", "chain")
MUST_MOVE = ("empty", "shuffled", "swapped", "no_homework")
GUESSES = ("guess_plain", "guess_masked")
TITLES = {
    "empty": "a therapist who says nothing",
    "shuffled": "the therapist's turns in random order",
    "swapped": "another patient's therapist",
    "no_homework": "homework taken out",
    "masked": "style masked",
    "halo": "items rated together and separately",
    "guess_plain": "the therapist's kind guessed from the plain transcript",
    "guess_masked": "the therapist's kind guessed from the masked transcript",
}


@dataclass(frozen=True, kw_only=True)
class Robustness(Judged):
    """What the probes show: the verdict on the headline's judge, and each probe."""

    judge: str
    """Whose ratings make the headline."""
    view: str
    sessions: int
    """In the sample, all arms together."""
    judges: Mapping[str, Judged]
    probes: Mapping[str, Measured]
    """Probe -> its row; all eight are always there."""
    notices: Sequence[Notice]


def robustness(
    rows: Sequence[ProbeRow], scores: Scores, settings: Settings, judge: Judge
) -> Robustness:
    """What the probes of the study's own judge show, probe by probe, with a verdict each and in
    all.

    `rows` are all probes of the sample, answered or not; `scores` hold the ordinary ratings that
    they are compared with. A judge whose ratings were imported cannot be probed.
    """
    known = levels(arms(scores.ratings, settings))
    settings, base = settled(known, settings), _base(rows, scores, settings)
    found = {
        name: _probe(name, rows, base, scores, settings, judge) for name in get_args(ProbeName)
    }
    own = _overall(found)
    if own.verdict == NOT_PROBED:
        own = replace(own, reason="no_answer" if rows else "none_asked")
    judges = {
        name: own if name == settings.probed else Judged(reason="imported")
        for name in scores.judges
    }
    headline = judges.get(settings.judge, own)
    return Robustness(
        **vars(headline),
        judge=settings.judge,
        view=settings.view,
        sessions=len({row.session_key for row in rows}),
        judges=judges,
        probes=found,
        notices=_notices(headline, found) if _asked(scores, settings) else [],
    )


def _probe(
    name: str,
    rows: Sequence[ProbeRow],
    base: Mapping[str, dict[str, float]],
    scores: Scores,
    settings: Settings,
    judge: Judge,
) -> Measured:
    """One probe's row."""
    own = [row for row in rows if row.probe == name]
    answered = [row for row in own if row.guess is not None]
    of = _sides(scores, settings)
    compared = _compared(own, base, of)
    scheduled, n = len(own), len(answered) or len(compared)
    unanswered = dict(Counter(why for row in own if (why := _why(row, base))).most_common())
    if name == MASKED and (both := _views(scores, settings, of)) is not None:
        scheduled, n, compared = both
        unanswered = {"unrated": scheduled - n} if scheduled > n else {}
    if not n:
        silent = Judged(reason="no_answer" if scheduled else "not_asked")
        found = unmeasured(name, judge, silent)
    elif name in COMPARISONS:
        found = COMPARISONS[name](compared, settings, judge)
    else:
        found = guess(answered, settings, judge)
    return replace(
        found,
        title=TITLES[name],
        scheduled=scheduled,
        n=n,
        unanswered=unanswered,
        text=f"{found.text}: {WORDS[found.verdict]}." if found.text else "",
    )


def _complete(scores: Scores, view: str, settings: Settings) -> pd.DataFrame | None:
    """Sessions whose items the study's own judge rated completely in a view, replicates averaged,
    by session key.
    """
    if settings.probed not in scores.judges or view not in scores.views:
        return None
    table = scores.sessions(view, settings.probed).set_index("session_key")
    columns = [ITEM + item for item in settings.items or scores.items]
    if table.empty or not set(columns) <= set(table.columns):
        return None
    whole: pd.DataFrame = table.loc[
        table["total"].notna() & table[columns].notna().all(axis=1), [*KEPT, *columns]
    ]
    return whole.rename(columns=lambda name: name.removeprefix(ITEM))


def _base(
    rows: Sequence[ProbeRow], scores: Scores, settings: Settings
) -> dict[str, dict[str, float]]:
    """Probed session -> its items as they were rated in the headline's view."""
    table = _complete(scores, settings.view, settings) if rows else None
    if table is None:
        return {}
    probed = table.loc[table.index.intersection([row.session_key for row in rows])].drop(
        columns=list(KEPT)
    )
    return {str(key): _named(items) for key, items in probed.to_dict("index").items()}


def _sides(scores: Scores, settings: Settings) -> dict[str, str]:
    """Arm -> the side of the first contrast on which it is compared."""
    known = levels(arms(scores.ratings, settings))
    found = pairs(settings.contrasts[0], known) if settings.contrasts else []
    return {pair.plus: "plus" for pair in found} | {pair.minus: "minus" for pair in found}


def _compared(
    rows: Sequence[ProbeRow], base: Mapping[str, dict[str, float]], of: Mapping[str, str]
) -> list[Compared]:
    found = []
    for row in rows:
        if _why(row, base) is None and row.guess is None:
            rated = base[row.session_key]
            probed = {
                item: float(score) for item in rated if (score := row.items[item]) is not None
            }
            found.append(Compared(row.arm, of.get(row.arm, ""), row.chain, rated, probed))
    return found


def _why(row: ProbeRow, base: Mapping[str, dict[str, float]]) -> str | None:
    """Why a probe says nothing; None where it does."""
    if row.reason is not None or row.guess is not None:
        return row.reason
    rated = base.get(row.session_key)
    if row.probe in GUESSES or rated is None:
        return "unrated"
    return None if all(row.items.get(item) is not None for item in rated) else "item_missing"


def _views(
    scores: Scores, settings: Settings, of: Mapping[str, str]
) -> tuple[int, int, list[Compared]] | None:
    """Where the study rates both views: its scheduled sessions, those rated in both, and a pair a
    chain; else None.
    """
    other = {"plain": "masked", "masked": "plain"}.get(settings.view)
    if other not in scores.views:
        return None
    one, two = _complete(scores, settings.view, settings), _complete(scores, other, settings)
    if one is None or two is None:
        return None
    shared, items = (
        one.index.intersection(two.index),
        [name for name in one.columns if name not in KEPT],
    )
    by = [one.loc[shared, name].astype(str) for name in KEPT]
    # A chain's mean is what counts, so a pair a chain is enough, however many sessions there are.
    rated, probed = (
        table.loc[shared, items].groupby(by, sort=False).mean() for table in (one, two)
    )
    records = zip(rated.index, rated.to_dict("records"), probed.to_dict("records"), strict=True)
    held = [
        Compared(arm, of.get(arm, ""), chain, *map(_named, found))
        for (arm, chain), *found in records
    ]
    scheduled = scores.of_judge(settings.view, settings.probed)["session_key"].nunique()
    return int(scheduled), len(shared), held


def _named(items: Mapping[Hashable, float]) -> dict[str, float]:
    return {str(item): float(score) for item, score in items.items()}


def _overall(found: Mapping[str, Measured]) -> Judged:
    """The worst of the verdicts; none passes whose sessions were never spoilt."""
    verdicts = {name: row.verdict for name, row in found.items()}
    worst = next((one for one in (FAILED, UNDECIDED, PASSED) if one in verdicts.values()), None)
    spoilt = any(verdicts[name] != NOT_PROBED for name in MUST_MOVE)
    return Judged(worst if worst and (spoilt or worst == FAILED) else NOT_PROBED)


def _asked(scores: Scores, settings: Settings) -> bool:
    """Is there a judge in question: a model whose ratings make the headline."""
    own = scores.of_judge(settings.view, settings.judge)
    return bool(own["rated"].any()) and scores.judges.get(settings.judge) != "human"


def _notices(headline: Judged, found: Mapping[str, Measured]) -> list[Notice]:
    """What stands at the top of the report."""
    if headline.verdict == NOT_PROBED:
        text = (
            "The judge was not probed: whether its scores follow what the therapist does is "
            "unknown."
        )
        if headline.reason == "imported":
            text = (
                "The ratings were imported, so their judge could not be probed: whether it "
                "reads what it rates is unknown."
            )
        return [Notice("judge_not_probed", text, 45)]
    probed = [row for row in found.values() if row.verdict != NOT_PROBED]
    failed = [row.title for row in probed if row.verdict == FAILED]
    unclear = [row.title for row in probed if row.verdict == UNDECIDED]
    notices = []
    if failed:
        text = (
            f"The judge fails {len(failed)} of {many(len(probed), 'probe')} "
            f"({'; '.join(failed)}): do not trust its scores."
        )
        notices.append(Notice("judge_failed", text, 90))
    if unclear:
        text = (
            f"Undecided: {len(unclear)} of {many(len(probed), 'probe')} of the judge "
            f"({'; '.join(unclear)}); probe more sessions."
        )
        notices.append(Notice("judge_undecided", text, 65))
    return notices
