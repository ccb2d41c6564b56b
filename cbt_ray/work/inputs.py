"""What a study file names must be there and of use before anything is paid for: prompts, scale, GGUF files, keys."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.llm.build import check_build
from cbt_ray.llm.gguf_file import check_gguf, is_hub_id, load_gguf_path
from cbt_ray.prompts import Prompts
from cbt_ray.rating.scale import load_scale
from cbt_ray.study import Study
from cbt_ray.study.endpoint import FINETUNED, LiteLLMEndpoint, LlamaCppEndpoint, Role
from cbt_ray.study.licence import check_licences
from cbt_ray.study.model import Recipe
from cbt_ray.therapy.dialogue import therapist_system
from cbt_ray.therapy.stop import end_mark
from cbt_ray.training.environment import require_unsloth
from cbt_ray.work import preferences
from cbt_ray.work.probed import check_probes


def check_prompts(study: Study, prompts: Prompts) -> None:
    """Raise InputError where the study's folder of prompts, an arm's prompt or the scale is absent or of no use."""
    if study.prompts is not None and not prompts.folders[0].is_dir():
        raise InputError(f"{study.file}: prompts: expected a folder, {prompts.folders[0]} is none")
    mark, first = end_mark(study.sessions), study.patients.simulated[0].name
    for number, arm in enumerate(study.arms):
        if arm.prompt is not None:
            with at(study, f"arms.{number}.prompt"):
                prompts.path(arm.prompt)
                therapist_system(prompts, arm.prompt, first, 1, study.sessions.count, study.phase_of(1), mark)
    with at(study, "judge.scale"):
        load_scale(prompts, study.judge.scale)
    with at(study, "judge.probes"):
        check_probes(study, prompts)


def check_endpoints(study: Study, roles: Iterable[Role]) -> None:
    """Raise InputError where a role's GGUF cannot be read or the environment lacks its key; calls nothing."""
    for name in sorted({role.endpoint for role in roles}):
        endpoint = study.endpoints[name]
        if isinstance(endpoint, LlamaCppEndpoint):
            with at(study, f"endpoints.{name}"):
                check_build()
        if isinstance(endpoint, LlamaCppEndpoint) and endpoint.gguf != FINETUNED:
            with at(study, f"endpoints.{name}.gguf"):
                check_gguf(load_gguf_path(endpoint.gguf))
        if isinstance(endpoint, LiteLLMEndpoint) and study.budget.cost is not None:
            _check_price(study, name, endpoint)
        if isinstance(endpoint, LiteLLMEndpoint) and endpoint.api_key_env is not None:
            with at(study, f"endpoints.{name}.api_key_env"):
                _check_key(endpoint.api_key_env)


def check_model_name(study: Study, model: str | None) -> None:
    """Raise InputError where --model names none of the study's; None is all of them."""
    if model is not None and model not in study.models:
        raise InputError(f"{study.file}: --model: unknown model {model!r}, expected one of {sorted(study.models)}")


def check_recipes(study: Study, finetunes: Collection[tuple[str, str]], *, train_here: bool = True) -> None:
    """Raise InputError where training must not or could not begin on this machine, so that no course is paid for in vain.

    Whether a hub id exists is for `fetch` to find out, which has a network; it trains on another machine, perhaps.
    """
    check_licences(study, (model for model, variant in finetunes if variant == "tuned"))
    for model, variant in finetunes:
        recipe = study.models[model].recipe
        name = "start" if variant == "tuned" else "compare"
        with at(study, f"models.{model}.recipe.{name}"):
            base, _ = recipe.base(variant)
            if not is_hub_id(base):
                _check_weights(load_gguf_path(base))
        if variant == "tuned" and train_here:
            _check_training(study, model, recipe)


def _check_weights(path: Path) -> None:
    if not path.is_dir():
        check_gguf(path)
        return
    from cbt_ray.training.start.four_bit import is_four_bit

    is_four_bit(path)


def _check_training(study: Study, model: str, recipe: Recipe) -> None:
    """What this machine would lack behind hours of other stages."""
    with at(study, f"models.{model}"):
        check_build()  # the parity gate hears what llama.cpp makes of the export
    if recipe.backend == "unsloth":
        with at(study, f"models.{model}.recipe.backend"):
            require_unsloth()
    if recipe.tensorboard:
        from cbt_ray.training.event_file import must_be_there

        with at(study, f"models.{model}.recipe.tensorboard"):
            must_be_there()
    with at(study, f"models.{model}.recipe.preferences"):
        preferences.check(study, recipe)


def _check_price(study: Study, name: str, endpoint: LiteLLMEndpoint) -> None:
    """A budget of dollars holds only where each call's price is known."""
    from cbt_ray.llm.prices import price

    if endpoint.price is None and (endpoint.api_base is not None or price(endpoint.model) is None):
        raise InputError(f"{study.file}: endpoints.{name}.price: expected one, since budget.cost is set; [0, 0] where it is free")


def _check_key(variable: str) -> None:
    if not os.environ.get(variable, "").strip():
        raise InputError(f"expected the environment variable {variable} to hold a key")


@contextmanager
def at(study: Study, field: str = "") -> Iterator[None]:
    """Say in which file and field an InputError has its cause, unless it names the file itself."""
    try:
        yield
    except InputError as error:
        if not str(error).startswith(f"{study.file}: "):
            said = str(error).removeprefix("gguf: ")
            error.args = (f"{study.file}: {f'{field}: ' if field else ''}{said}",)
        raise
