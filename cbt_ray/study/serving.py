"""Serving: which server of vLLM holds which of a study's models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cbt_ray.count import many
from cbt_ray.study.endpoint import VllmEndpoint
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.scheduled import all_imported, seeds_of

if TYPE_CHECKING:
    from cbt_ray.study.study import Study


MERGED = "merged"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters, that vLLM can be started for."""


class Server(NamedTuple):
    """One vLLM: a base model of the study at an endpoint."""

    model: str
    endpoint: str


def servers(study: Study) -> dict[Server, list[Checkpoint]]:
    """Every vLLM that the study's arms need, with the models that it holds."""
    found: dict[Server, list[Checkpoint]] = {}
    for arm in study.arms:
        name = study.therapist(arm).endpoint
        if not isinstance(study.endpoints.get(name), VllmEndpoint) or arm.model is None:
            continue
        if not all_imported(study, arm):
            held = found.setdefault(Server(arm.model, name), [])
            held += [Checkpoint(arm.model, arm.tuned, seed) for seed in seeds_of(study, arm)]
    return {server: sorted(set(held)) for server, held in found.items()}


def problems(study: Study) -> Iterator[str]:
    """Models that one vLLM cannot serve together."""
    known = {one: held for one, held in servers(study).items() if one.model in study.models}
    for server, held in known.items():
        yield from _of_server(study, server, held)
    addresses: dict[str, Server] = {}
    for server in known:
        field = f"endpoints.{server.endpoint}.api_base"
        other = addresses.setdefault(endpoint_of(study, server).address(server.model), server)
        if other.endpoint == server.endpoint and other != server:
            yield (
                f"{field}: expected {{model}} in it, since {other.model} and {server.model} have "
                "a server each"
            )
        elif other != server:
            yield f"{field}: expected another address than that of endpoints.{other.endpoint}"


def _of_server(study: Study, server: Server, held: list[Checkpoint]) -> Iterator[str]:
    field, recipe = f"endpoints.{server.endpoint}", study.models[server.model].recipe
    merged = endpoint_of(study, server).form == MERGED
    if merged and len(held) > 1:
        yield (
            f"{field}.form: expected adapter, since {many(len(held), 'model')} of {server.model} "
            "answer there and a merged one is alone in its server"
        )
    if merged and held[0].tuned and not recipe.safetensors:
        yield (
            f"models.{server.model}.recipe.safetensors: expected true, since {field} serves the "
            "merged model"
        )
    ranks = {"search.rank": max(recipe.search.rank)} if recipe.search and recipe.search.rank else {}
    for name, rank in (ranks or {"lora.r": recipe.lora.r}).items():
        if not merged and held[-1].tuned and rank > RANKS[-1]:
            yield (
                f"models.{server.model}.recipe.{name}: expected at most {RANKS[-1]}, since {field} "
                "serves the adapter"
            )
    mixed = len({one.tuned for one in held}) > 1
    if not merged and mixed and recipe.base(True) != recipe.base(False):
        yield (
            f"{field}: expected one base for all arms of {server.model}, but `start` and "
            "`compare` differ; give the arms that are not tuned an endpoint of their own"
        )


def endpoint_of(study: Study, server: Server) -> VllmEndpoint:
    """The endpoint of a server."""
    found = study.endpoints[server.endpoint]
    if not isinstance(found, VllmEndpoint):
        raise TypeError(f"{server.endpoint} is no endpoint of vLLM")
    return found
