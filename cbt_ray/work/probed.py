"""What the judge is probed with: which probes of a study are made, and of which sessions.

Follows from the study file alone.
"""

from __future__ import annotations

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.guess import PROMPTS as GUESS_PROMPTS
from cbt_ray.rating.guess import load_kinds
from cbt_ray.rating.homework import FILE as HOMEWORK_FILE
from cbt_ray.rating.homework import load_homework
from cbt_ray.rating.judge import PROMPTS as JUDGE_PROMPTS
from cbt_ray.rating.probe import GUESSES, NO_HOMEWORK, sampled
from cbt_ray.rating.scale import joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.study import Study
from cbt_ray.study.lesson import learned_from
from cbt_ray.study.scheduled import patient_slug


def probe_names(study: Study) -> list[str]:
    """The probes that are made of each probed session.

    Without `masked` where both views are rated anyway, and without guesses where all arms are of
    one kind.
    """
    if study.probed is None:
        return []
    needless = {"masked"} if len(study.judge.views) > 1 else set()
    if len(kinds_of(study)) < 2:
        needless |= set(GUESSES)
    return [name for name in study.judge.probes.which if name not in needless]


def probed_places(study: Study) -> list[tuple[int, int, int]]:
    """The probed sessions of each arm: patient and replicate, counted from 1, and session
    number.
    """
    if not probe_names(study):
        return []
    judge = study.judge
    known = learned_from(study, judge)
    patients = {
        slug: number
        for number, patient in enumerate(study.simulated, 1)
        if (slug := patient_slug(patient)) not in known
    }
    chains = [
        (name, replicate)
        for name in patients
        for replicate in range(1, study.sessions.replicates + 1)
    ]
    drawn = sampled(chains, study.sessions.count, study.judge.probes.sessions, study.seed)
    return [(patients[name], replicate, number) for name, replicate, number in drawn]


def kinds_of(study: Study) -> list[str]:
    """The kinds of therapist that the judge may tell apart."""
    return sorted({arm.kind for arm in study.arms})


def check_probes(study: Study, prompts: Prompts) -> None:
    """Raise InputError where the data that a study's probes need are of no use."""
    names = probe_names(study)
    if NO_HOMEWORK in names:
        probes = study.judge.probes
        load_homework(prompts)
        scale = joined(load_scales(prompts, study.judge.scales))
        items = [item.id for item in scale.items]
        if probes.homework_item not in items:
            found = (
                f"expected an item of {scale.name} ({', '.join(items)}), found "
                f"{probes.homework_item!r}"
            )
            raise InputError(f"{study.file}: raters.{study.probed}.probes.homework_item: {found}")
    if set(names) & set(GUESSES):
        load_kinds(prompts, kinds_of(study))


def probe_prompts(name: str, scale: list[str]) -> tuple[str, ...]:
    """The files that a probe's judgement is asked with; `scale` are those of the scale."""
    if name in GUESSES:
        return GUESS_PROMPTS
    return (*JUDGE_PROMPTS, *scale, *([HOMEWORK_FILE] if name == NO_HOMEWORK else []))
