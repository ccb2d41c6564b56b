"""The section `labels`: do replies name what the generator named of the same cases.

The reference is the generator's own analysis. Its second analysis of the same cases agrees with the
first as far as such labels can be relied on: the ceiling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cbt_ray.analysis.effect.asked import Arms, heads, pairs_of, trained
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.label.agreed import Agreed, LabelAgreed, agreed, base_rate, exact, macro
from cbt_ray.analysis.label.labelled import Labelled, Replies
from cbt_ray.analysis.label.pair import LabelPair, compared
from cbt_ray.analysis.notice import Notice
from cbt_ray.analysis.settings import Settings

MOST_LISTED = 3
"""Arms that a sentence lists; of more it says the range."""
UNRELIABLE = 0.5
"""A ceiling below it is poor agreement: the generator does not repeat its own labels."""
METHOD = (
    "F1 over all labels (micro); intervals of Korn and Graubard with personas as clusters, which "
    "training seeds widen; of differences by MOVER"
)


@dataclass(frozen=True)
class ArmLabels:
    """What an arm's replies named."""

    arm: str
    replies: int
    """That count: all but those that are `left_out`."""
    cases: int
    personas: int
    seeds: int
    """Of training."""
    left_out: Mapping[str, int]
    """Reason -> replies that do not exist yet, or that nobody has."""
    unnamed: Mapping[str, int]
    """Reason -> replies that count, and named nothing."""
    all: Agreed
    """All labels together (micro)."""
    macro_f1: float | None
    """Mean of F1 over the labels that were named at all."""
    base_rate: float | None
    """F1 expected of the same replies, dealt to the cases at random."""
    exact: Estimate
    """Share of cases with all of the generator's labels and no other."""
    labels: Sequence[LabelAgreed]


@dataclass(frozen=True)
class Labels:
    """Labels that replies named, against the generator's."""

    level: float
    ceiling: str | None
    """The arm that is the generator itself, a second time."""
    answer: str
    """One sentence."""
    arms: Sequence[ArmLabels]
    pairs: Sequence[LabelPair]
    """Of the primary contrasts."""
    reason: str | None
    """Why there is no pair."""
    method: str
    notices: Sequence[Notice]


def labels(
    rows: Sequence[Labelled],
    settings: Settings,
    ceiling: str | None = None,
    known: Sequence[str] = (),
) -> Labels | None:
    """The section; None without rows.

    `ceiling`: the arm whose therapist is the generator. `known`: the labels of the form, in
    its order; others that were named follow.
    """
    if not rows:
        return None
    known = _known(rows, known)
    levels = _levels(rows, settings)
    replies = {
        arm: Replies.of([row for row in rows if row.arm == arm and row.counts], known)
        for arm in levels
    }
    arms = [_arm(arm, replies[arm], rows, known, settings.level) for arm in levels]
    pairs = _pairs(levels, replies, known, settings)
    return Labels(
        level=settings.level,
        ceiling=ceiling,
        answer=_answer(arms, ceiling),
        arms=arms,
        pairs=pairs,
        reason=None if pairs else "no primary contrast is asked",
        method=METHOD,
        notices=_notices(arms, ceiling),
    )


def _known(rows: Sequence[Labelled], known: Sequence[str]) -> list[str]:
    """Every label."""
    more = {label for row in rows for label in row.named | row.reference} - set(known)
    return [*known, *sorted(more)]


def _levels(rows: Sequence[Labelled], settings: Settings) -> Arms:
    """The arms with their levels, in their order."""
    found = {row.arm: row.factors for row in rows}
    order = [arm for arm in settings.arms if arm in found]
    return {arm: found[arm] for arm in dict.fromkeys([*order, *found])}


def _arm(
    arm: str, replies: Replies, rows: Sequence[Labelled], known: Sequence[str], level: float
) -> ArmLabels:
    own = [row for row in rows if row.arm == arm]
    each = [
        LabelAgreed(**vars(agreed(replies, level, index)), label=label)
        for index, label in enumerate(known)
    ]
    return ArmLabels(
        arm=arm,
        replies=len(replies.case),
        cases=len(set(replies.case)),
        personas=len(set(replies.persona)),
        seeds=replies.seeds,
        left_out=_reasons(row for row in own if not row.counts),
        unnamed=_reasons(row for row in own if row.counts and not row.named),
        all=agreed(replies, level),
        macro_f1=macro(each),
        base_rate=base_rate(replies),
        exact=exact(replies, level),
        labels=each,
    )


def _reasons(rows: Iterable[Labelled]) -> dict[str, int]:
    """The commonest first."""
    return dict(Counter(row.reason or "none_named" for row in rows).most_common())


def _pairs(
    levels: Arms, replies: Mapping[str, Replies], known: Sequence[str], settings: Settings
) -> list[LabelPair]:
    tuned = trained(levels, settings)
    return [
        compared(
            head,
            (replies[head.plus], replies[head.minus]),
            known,
            settings.level,
            once=any(arm in tuned and replies[arm].seeds < 2 for arm in (head.plus, head.minus)),
        )
        for head in heads(pairs_of("primary", levels, settings))
    ]


# ---- in words ------------------------------------------------------------------------------------


def _answer(arms: Sequence[ArmLabels], ceiling: str | None) -> str:
    """How well replies name what the generator named."""
    known = [arm for arm in arms if arm.all.f1.value is not None]
    own = sorted(
        (arm for arm in known if arm.arm != ceiling), key=lambda arm: -(arm.all.f1.value or 0.0)
    )
    if not own:
        return "No reply of a therapist names labels that can be compared with the generator's."
    said = [f"{_number(arm.all.f1)} in {arm.arm}" for arm in own]
    f1 = f"from {said[-1]} to {said[0]}" if len(own) > MOST_LISTED else " and ".join(said)
    rates = dict.fromkeys(f"{arm.base_rate:.2f}" for arm in own if arm.base_rate is not None)
    text = (
        f"Replies name what the generator named of the same case with F1 {f1}; dealt to the "
        f"cases at random they would have {' to '.join(dict.fromkeys([min(rates), max(rates)]))}"
    )
    top = [
        f"the generator agrees with itself at {_number(a.all.f1)}" for a in known if a not in own
    ]
    return f"{'; '.join([text, *top])}."


def _number(found: Estimate) -> str:
    """`0.71 (0.62 to 0.79)`."""
    if found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _notices(arms: Sequence[ArmLabels], ceiling: str | None) -> list[Notice]:
    """What stands at the top of the report."""
    top = next((arm.all.f1 for arm in arms if arm.arm == ceiling), Estimate(None))
    own = [arm for arm in arms if arm.arm != ceiling]
    return [*_reference(top), *(notice for arm in own for notice in _of_arm(arm))]


def _reference(top: Estimate) -> list[Notice]:
    """Whether the reference can be relied on."""
    if top.value is None:
        text = (
            "The generator did not analyse cases a second time: how far its own labels can be "
            "relied on is unknown."
        )
        return [Notice("labels_without_ceiling", text, 45)]
    if top.value >= UNRELIABLE:
        return []
    text = (
        f"The generator agrees with its own labels at F1 {_number(top)}: they are not reliable, "
        "and agreement with them says little."
    )
    return [Notice("labels_unreliable", text, 75)]


def _of_arm(arm: ArmLabels) -> Iterator[Notice]:
    """How an arm stands to chance."""
    found, rate = arm.all.f1, arm.base_rate
    if found.value is None or rate is None:
        return
    if not arm.all.tp + arm.all.fp:
        why = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in arm.unnamed.items())
        yield Notice("labels_unnamed", f"Labels of {arm.arm}: no reply names any ({why}).", 65)
        return
    lowest = found.value if found.low is None else found.low
    if lowest <= rate:
        shown = "not above" if found.value <= rate else "not shown to be above"
        text = (
            f"Labels of {arm.arm}: F1 {_number(found)} is {shown} the {rate:.2f} that its replies "
            "would have if they were dealt to the cases at random."
        )
        yield Notice("labels_as_dealt", text, 65)
