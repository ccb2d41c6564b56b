"""Factors: by which levels the arms of a study differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cbt_ray.study.block import in_words, twice, values_of
from cbt_ray.study.contrast import TUNING, Contrast, Levels, default_contrasts, unanswered
from cbt_ray.study.endpoint import Role
from cbt_ray.study.form import PROMPT
from cbt_ray.study.model import Arm


def levels_of(
    arms: Sequence[Arm], therapists: Mapping[str, Role], forms: Mapping[str, str]
) -> dict[str, Levels]:
    """Arm -> factor -> level: as declared, else those of model, variant, prompt, form, endpoint and
    sampling in which the arms differ.

    `therapists`: arm -> the therapist's role; `forms`: arm -> the form's name. An
    endpoint that differs wherever the model does is no factor of its own.
    """
    if any(arm.factors for arm in arms):
        return {arm.name: dict(arm.factors) for arm in arms}
    sampling = _sampling([therapists[arm.name] for arm in arms])
    known = {
        "model": [arm.model or therapists[arm.name].endpoint for arm in arms],
        TUNING: [arm.kind for arm in arms],
        "prompt": [prompt_of(arm) for arm in arms],
        "form": [forms[arm.name] for arm in arms],
        "endpoint": [therapists[arm.name].endpoint for arm in arms],
        "sampling": sampling,
    }
    if len(set(zip(known["model"], known["endpoint"], strict=True))) == len(set(known["model"])):
        del known["endpoint"]
    differ = {factor: levels for factor, levels in known.items() if len(set(levels)) > 1}
    return {
        arm.name: {factor: levels[number] for factor, levels in differ.items()}
        for number, arm in enumerate(arms)
    }


def prompt_of(arm: Arm) -> str:
    """An arm's prompt as people call it."""
    return (arm.prompt or PROMPT).removesuffix(".j2")


def _sampling(roles: Sequence[Role]) -> list[str]:
    """What each role's sampling has otherwise than the others."""
    known = [values_of(role.sampling) for role in roles]
    differ = [name for name in known[0] if len({one[name] for one in known}) > 1]
    return [", ".join(f"{name} {in_words(one[name])}" for name in differ) for one in known]


def problems(
    arms: Sequence[Arm], levels: Mapping[str, Levels], contrasts: Sequence[Contrast] | None
) -> Iterator[str]:
    """What is wrong with the arms' factors and what is asked of them: `field: expected ...`."""
    declared = dict.fromkeys(factor for arm in arms for factor in arm.factors)
    for number, arm in enumerate(arms):
        lacking = [factor for factor in declared if factor not in arm.factors]
        if lacking:
            yield (
                f"arms.{number}.factors: expected the factors of the other arms, too; "
                f"{', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing"
            )
    again = twice(contrast.name for contrast in contrasts or ())
    if again is not None:
        yield f"analysis.contrasts: expected each name once, found {again!r} twice"
    for number, contrast in enumerate(contrasts or ()):
        for problem in unanswered(contrast, levels):
            yield f"analysis.contrasts.{number}.{problem}"
    if contrasts is None and not default_contrasts(levels):
        yield f"analysis.contrasts: {_remedy(levels)}"


def _remedy(levels: Mapping[str, Levels]) -> str:
    """What a study must say for which it is not clear what is compared."""
    describes = "`contrasts: []` where the study only describes"
    known = {
        factor: list(dict.fromkeys(one[factor] for one in levels.values() if factor in one))
        for factor in dict.fromkeys(factor for one in levels.values() for factor in one)
    }
    several = {factor: found for factor, found in known.items() if len(found) > 1}
    if not several:
        return f"expected arms that differ in something, or {describes}"
    factor, (low, high, *_) = next(iter(several.items()))
    example = f"- {{name: {factor}, plus: {{{factor}: {high}}}, minus: {{{factor}: {low}}}}}"
    return (
        f"expected what is compared, since the arms differ in {', '.join(several)}; name it, such "
        f"as `{example}`, or {describes}"
    )
