"""Check: all that can be refused is refused, before anything is paid for."""

from __future__ import annotations

from collections.abc import Callable

from cbt_ray.count import agreeing
from cbt_ray.errors import InputError
from cbt_ray.llm.build import best_build, builds
from cbt_ray.stages.preflight import check_apart, preflight
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, LlamaCppEndpoint
from cbt_ray.study.load import Examined
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import scales_of


def check(
    examined: Examined,
    bench_of: Callable[[Study], Bench],
    say: Callable[[str], object],
    *,
    call: bool,
) -> None:
    """Say what was checked; with `call`, ask every endpoint of a role that is owed.

    Raises InputError with all that is wrong.
    """
    study = examined.study
    if examined.problems or study is None:
        found = list(examined.problems)
        try:
            if study is not None:
                check_apart(study)
        except InputError as error:
            found += [said for said in error.problems if not _told(said, found)]
        raise InputError(*found)
    bench = bench_of(study)
    try:
        asked = preflight(bench)
        if call:
            bench.prove(asked)
    finally:
        bench.close()
    roles = [
        (name, role) for roles in asked.values() for name, same in roles.items() for role in same
    ]
    endpoints = {role.endpoint: study.endpoints[role.endpoint] for _, role in roles}
    remote = sorted(name for name, one in endpoints.items() if isinstance(one, LiteLLMEndpoint))
    names = ", ".join(dict.fromkeys(name for name, _ in roles)) or "none, since no call is owed"
    named = dict.fromkeys(one for rater in study.raters for one in scales_of(study, rater))
    noun = agreeing(len(named), "scale")
    scales = f" {noun} {', '.join(named)}," if named else ""
    say(f"{study.file}: nothing wrong: fields, prompts,{scales} recipes; roles: {names}")
    if remote:
        say(
            f"endpoints {'that answered' if call else 'not called (--call does)'}: "
            f"{', '.join(remote)}"
        )
    if any(isinstance(one, LlamaCppEndpoint) for one in endpoints.values()):
        names = ", ".join(build.name for build in builds())
        say(f"llama.cpp {best_build()} (installed: {names})")


def _told(said: str, found: list[str]) -> bool:
    """Whether a field has been complained of already, so that this follows from it."""
    field = ": ".join(said.split(": ")[:2])
    return any(one.startswith(f"{field}: ") or one.startswith(f"{field}.") for one in found)
