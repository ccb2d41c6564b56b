"""The preflight: before the first call of the first stage, everything that can be refused is
refused, all of it at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from cbt_ray.errors import InputError
from cbt_ray.stages.fetch import owed_checkpoints
from cbt_ray.study import Study
from cbt_ray.study.endpoint import Role
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.scheduled import checkpoints, needs_courses
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.inputs import all_of, check_endpoints, check_exports, check_prompts, check_recipes
from cbt_ray.work.workshop import prompts_of

Asked = Mapping[Stage, Mapping[str, list[Role]]]
"""Stage -> name of a role -> the roles that it asks."""


def roles_of(study: Study) -> Asked:
    """Every role of a study."""
    roles = study.roles
    writes = roles.generator is not None and needs_courses(study)
    writers = study.writing.roles if writes else {}
    pairs = {name: [role] for name, role in study.pair_roles.items()}
    return {
        **({Stage.COURSES: {name: [one] for name, one in writers.items()}} if writers else {}),
        **({Stage.PAIRS: pairs} if pairs else {}),
        Stage.SESSIONS: {
            **({"patient": [one]} if (one := study.patient_role) else {}),
            **({"summariser": [one]} if (one := study.summariser) else {}),
            "therapist": [study.therapist(arm) for arm in study.arms],
        },
        Stage.RATINGS: {name: [rater] for name, rater in study.judges.items()},
    }


def owed_roles(bench: Bench) -> Asked:
    """The roles of the stages that owe units: a finished study asks nobody."""
    asked = roles_of(bench.study)
    survey = bench.survey(*asked)
    return {stage: roles for stage, roles in asked.items() if survey.owed(stage)}


def finished(bench: Bench) -> bool:
    """Whether nothing is owed.

    What cannot be told since something is wrong, `preflight` says better.
    """
    try:
        return bench.is_complete()
    except InputError:
        return False


def preflight(bench: Bench) -> Asked:
    """The roles that will be asked.

    Raises InputError with all that is wrong, one line each; calls no model.
    """
    study, unknown = bench.study, None
    asked, made = roles_of(study), _tuned(study)
    trained = made
    try:
        asked = owed_roles(bench)
        made = owed_checkpoints(bench)
        trained = _owed_trainings(bench, made)
    except (
        InputError
    ) as error:  # without its files no key is known; which of them, the checks say better
        unknown = error
    all_of(
        lambda: check_prompts(study, bench.prompts),
        lambda: bench.check_store() if asked or made else None,
        lambda: check_endpoints(study, _all(asked)),
        lambda: check_recipes(study, trained),
        lambda: check_exports(study, made),
    )
    if unknown is not None:
        raise unknown
    return asked


def check_apart(study: Study) -> None:
    """Raise InputError with all that is wrong with what a study names, where its blocks may not fit
    together.
    """
    all_of(
        lambda: check_prompts(study, prompts_of(study)),
        lambda: check_endpoints(study, _all(roles_of(study))),
        lambda: check_recipes(study, _tuned(study)),
    )


def _owed_trainings(bench: Bench, made: list[Checkpoint]) -> list[Checkpoint]:
    """Of these models those that owe a training: what was trained elsewhere needs nothing here."""
    owed = set(bench.survey(Stage.ADAPTER).owed(Stage.ADAPTER))
    tuned = [one for one in made if one.tuned]
    return [
        one for one in tuned if owed & set(map(bench.keys.adapter, bench.study.candidates(one)))
    ]


def _tuned(study: Study) -> list[Checkpoint]:
    return [made for made in checkpoints(study) if made.tuned and made.model in study.models]


def _all(asked: Asked) -> list[Role]:
    return [role for roles in asked.values() for same in roles.values() for role in same]
