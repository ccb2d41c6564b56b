"""Alike: profiles that are too much like an earlier one are written anew, before any course is.

Which they are follows from the texts alone: of two that are alike the later patient's is written
anew, whoever was written first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cbt_ray.count import many
from cbt_ray.errors import ModelFailure
from cbt_ray.stages.profile import write_profile
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.job import Job
from cbt_ray.work.workplace import Spec

ALIKE = "alike"
"""Why a profile was written anew."""


class Like(NamedTuple):
    """A patient's profile is too much like that of an earlier one."""

    patient: int
    other: int
    alike: float
    """From 0, nothing in common, to 1, the same."""


def write_distinct(bench: Bench) -> bool:
    """Have every profile written, and those anew that are too much like an earlier one; answers
    whether the study asks for that.

    One that still is after the generator's attempts is rejected. Raises Owed where some could not
    be made.
    """
    patients, keys = bench.study.writing.patients, bench.keys
    if patients.most_alike is None or bench.only is not None:
        return False
    own = [n for n in range(1, patients.count + 1) if not keys.is_imported(keys.profile(n))]
    _write(bench, dict.fromkeys(own, 0))
    while again := alike(_texts(known := _known(bench, own)), patients.most_alike):
        for one in again:
            bench.progress.say(
                f"profiles: {keys.profile(one.patient).id} is {one.alike:.2f} like "
                f"{keys.profile(one.other).id}, is written anew"
            )
            bench.without(known[one.patient])
        _write(bench, {one.patient: _draws(known[one.patient]) + 1 for one in again})
    return True


def _write(bench: Bench, draws: Mapping[int, int]) -> None:
    """Have the profiles written that are owed."""
    owed = set(bench.renewed(Stage.PROFILES).owed(Stage.PROFILES))
    jobs: list[Job] = [job for job in draws.items() if bench.keys.profile(job[0]) in owed]
    roles = {"generator": [bench.study.writing.generator]}
    bench.carry_out(Stage.PROFILES, make_profile, jobs, len(jobs), roles)


def make_profile(spec: Spec, job: Job) -> None:
    """Make a training patient's profile, which was alike so many times before."""
    number, draws = int(job[0]), int(job[1])
    with spec.workplace() as place:
        key = place.keys.profile(number)

        def produce() -> dict[str, object]:
            if draws > place.study.writing.generator.attempts:
                raise ModelFailure(ALIKE, f"{ALIKE}: {many(draws, 'draw')}")
            written = write_profile(place, number, draws)
            useless = {**written["sent_back"], **({ALIKE: draws} if draws else {})}
            return {**written, "sent_back": useless}

        place.make(key, (), produce)


def _known(bench: Bench, numbers: list[int]) -> dict[int, Unit]:
    keys = {bench.keys.profile(number): number for number in numbers}
    return {keys[key]: unit for key, unit in bench.store.get_many(keys) if unit is not None}


def _texts(units: Mapping[int, Unit]) -> dict[int, str]:
    """The narratives of those that were not rejected."""
    found = ((number, unit.content.get("narrative")) for number, unit in units.items())
    return {number: text for number, text in found if isinstance(text, str)}


def _draws(unit: Unit) -> int:
    return int(unit.content["sent_back"].get(ALIKE, 0))


def alike(texts: Mapping[int, str], most: float) -> list[Like]:
    """The patients whose text is more like an earlier one's than it may be, each with the one that
    it is most like.

    Alike is the share of characters that two texts have in common, in order (1 less the Indel
    distance by their length); case and blanks do not count.
    """
    from rapidfuzz.distance import Indel
    from rapidfuzz.process import extractOne

    found, kept = list[Like](), dict[int, str]()
    for number in sorted(texts):
        plain = " ".join(texts[number].casefold().split())
        near = extractOne(plain, kept, scorer=Indel.normalized_similarity, score_cutoff=most)
        if near is not None and near[1] > most:
            found.append(Like(number, near[2], near[1]))
        else:
            kept[number] = plain
    return found
