"""Served: the study's own models in vLLM, the names under which requests ask for them, and the
verdict on each, without which no session is held.

`cbt-ray serve` writes the verdicts; sessions wait for them, since a server takes minutes to load.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from cbt_ray.errors import CbtRayError, GateFailed, Infrastructure, InputError, KeyRefused, Owed
from cbt_ray.llm.chat_request import key_of
from cbt_ray.llm.inquiry import Inquiry
from cbt_ray.llm.server import Served
from cbt_ray.store import Store
from cbt_ray.study import Study
from cbt_ray.study.endpoint import VllmEndpoint
from cbt_ray.study.model import Arm, Checkpoint
from cbt_ray.study.serving import Server, endpoint_of, servers
from cbt_ray.unit import Status
from cbt_ray.work.keys import Keys

LOOK_S = 1.0
"""Seconds between two looks at a server."""


def served(keys: Keys, made: Checkpoint, endpoint: str) -> Served:
    """A checkpoint as a server knows it: a server with other weights knows no such name."""
    key = keys.served(made, endpoint)
    return Served(made.model, f"{made.id}-{key.h16}")


def await_served(
    keys: Keys,
    store: Store,
    arms: Iterable[Arm],
    say: Callable[[str], object],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until the servers of these arms are ready and were found to be right.

    Raises what is missing once `wait_s` is over, GateFailed at once where one was found wrong.
    """
    study = keys.study
    wanted = {Server(arm.model, study.therapist(arm).endpoint) for arm in arms if arm.model}
    for server, held in servers(study).items():
        if server not in wanted:
            continue
        end = clock() + endpoint_of(study, server).wait_s
        told = False
        while True:
            try:
                _expect_served(keys, store, server, held)
                break
            except (GateFailed, KeyRefused):
                raise
            except CbtRayError as missing:
                if clock() >= end:
                    raise
                if not told:
                    say(f"sessions: waiting for vLLM: {missing}")
            told = True
            sleep(LOOK_S)


def refused(study: Study, server: Server, problems: Iterable[str]) -> GateFailed:
    """A server that is not what was trained, with all that differs."""
    field = f"{study.file}: endpoints.{server.endpoint}"
    return GateFailed(*(f"{field}: the server of {server.model}: {one}" for one in problems))


def _expect_served(keys: Keys, store: Store, server: Server, held: list[Checkpoint]) -> None:
    """Raise what a server lacks, if anything."""
    study, address = keys.study, endpoint_of(keys.study, server).address(server.model)
    field = f"{study.file}: endpoints.{server.endpoint}"
    start = f"start it with `cbt-ray serve {study.file} --model {server.model}`"
    listed = _listed(server, endpoint_of(study, server), field, start)
    for made in held:
        name = served(keys, made, server.endpoint).name
        unit, model = store.get(keys.served(made, server.endpoint)), store.get(keys.model(made))
        if name not in listed:
            known = ", ".join(sorted(listed)) or "none"
            raise InputError(
                f"{field}.api_base: expected a server that has {name}, {address} has {known}; "
                f"{start}"
            )
        if unit is None:
            raise Owed(f"{field}: {name} has not passed the check `served` yet; {start}")
        if model is None or unit.made_from.get(str(model.key)) != model.digest:
            raise Owed(f"{field}: {name} is of an earlier training; {start} again")
        if unit.status is not Status.DONE:
            raise refused(study, server, [f"{name}: {unit.reason}; {start}"])


def _listed(server: Server, endpoint: VllmEndpoint, field: str, start: str) -> Collection[str]:
    """The models that a server says it has."""
    own = endpoint.server(server.model, server.model)
    try:
        return Inquiry(own.api_base or "", key_of(server.endpoint, own) or "").models()
    except KeyRefused as error:
        raise KeyRefused(f"{field}.api_key_env: {error}") from None
    except InputError as error:
        raise InputError(f"{field}.api_base: {error}") from None
    except Infrastructure as error:
        raise Infrastructure(f"{field}.api_base: {error}; {start}", error.kind) from None
