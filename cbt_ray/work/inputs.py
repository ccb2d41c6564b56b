"""What a study file names must be there and of use before anything is paid for: prompts, scale,
GGUFs, keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from cbt_ray.errors import InputError
from cbt_ray.extra import need
from cbt_ray.llm.build import best_build, check_gpu
from cbt_ray.llm.gguf_file import check_gguf, load_gguf_path
from cbt_ray.llm.template import check_served
from cbt_ray.prompts import Prompts
from cbt_ray.rating.guess import KINDS, load_kinds
from cbt_ray.rating.homework import FILE as HOMEWORK
from cbt_ray.rating.homework import load_homework
from cbt_ray.rating.scale import Scale, joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.reading import located
from cbt_ray.reading.trial import tried
from cbt_ray.study import Study
from cbt_ray.study.endpoint import FINETUNED, LiteLLMEndpoint, LlamaCppEndpoint, Remote, Role
from cbt_ray.study.licence import check_licences
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.recipe import Recipe, is_hub_id
from cbt_ray.therapy.language import Language, load_language
from cbt_ray.training.environment import require_unsloth
from cbt_ray.work import preferences
from cbt_ray.work.outcome import scales_of, targets
from cbt_ray.work.probed import check_probes, kinds_of
from cbt_ray.work.samples import TEXT, Sample, fault_of, samples

T = TypeVar("T")


def all_of(*checks: Callable[[], object]) -> None:
    """Make every check, and raise InputError with all that they found."""
    problems: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except InputError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise InputError(*problems)


def check_prompts(study: Study, prompts: Prompts) -> None:
    """Raise InputError with all that is wrong with what models are told: prompts of every role,
    scale, data of the probes.
    """
    all_of(
        partial(_check_language, study, prompts),
        partial(_check_scale, study, prompts),
        partial(_check_data, study, prompts),
        partial(_check_templates, study, prompts),
    )


def _check_language(study: Study, prompts: Prompts) -> Language:
    with at(study, "language"):
        return load_language(prompts)


def _check_scale(study: Study, prompts: Prompts) -> None:
    for name in study.raters:
        with at(study, f"raters.{name}.scales"):
            load_scales(prompts, scales_of(study, name))
    with at(study, "analysis.outcomes"):
        targets(study, prompts)
    with at(study, f"raters.{study.probed}.probes"):
        check_probes(study, prompts)


def _check_data(study: Study, prompts: Prompts) -> None:
    """The study's own files of data, whether a probe needs them now or not."""
    if study.prompts is not None:
        with at(study, "prompts"):
            own = located(study.prompts, study.file.parent)
            all_of(
                lambda: os.path.lexists(own / HOMEWORK) and load_homework(prompts),
                lambda: os.path.lexists(own / KINDS) and load_kinds(prompts, kinds_of(study)),
            )


def _check_templates(study: Study, prompts: Prompts) -> None:
    """Fill in every prompt, and parse those of the study's folder that nobody asks for, in a
    process that is ended in time.
    """
    with at(study, "prompts"):
        own = prompts.own()
    language = _or(lambda: load_language(prompts), None)
    if language is None:
        return  # said already; no prompt can be filled in without it
    scales = [_or(partial(_scale_of, prompts, one.scales), None) for one in study.judges.values()]
    filled = list(samples(study, language, scales, {"a": TEXT, "b": TEXT}))
    named = [
        Sample(name, "prompts", None)
        for name in own
        if name not in {sample.prompt for sample in filled}
    ]
    tasks = [partial(fault_of, prompts, sample) for sample in [*filled, *named]]
    problems: dict[str, None] = {}
    for sample, said in zip([*filled, *named], tried(tasks), strict=True):
        for one in said:
            problems[f"{study.file}: {sample.field}: {one}"] = None
    if problems:
        raise InputError(*problems)


def _scale_of(prompts: Prompts, names: Sequence[str]) -> Scale:
    return joined(load_scales(prompts, names))


def check_endpoints(study: Study, roles: Iterable[Role]) -> None:
    """Raise InputError where GGUFs of roles cannot be read or the environment lacks their keys.

    Calls nothing.
    """
    named = {role.endpoint for role in roles} & study.endpoints.keys()
    all_of(*(partial(_check_endpoint, study, name) for name in sorted(named)))


def _check_endpoint(study: Study, name: str) -> None:
    endpoint = study.endpoints[name]
    if isinstance(endpoint, LlamaCppEndpoint):
        with at(study, f"endpoints.{name}"):
            best_build()
            check_gpu(endpoint.gpu_layers)
        if endpoint.gguf != FINETUNED:
            with at(study, f"endpoints.{name}.gguf"):
                check_served(load_gguf_path(endpoint.gguf), study.told_date)
    if isinstance(endpoint, Remote):
        all_of(
            partial(_check_price, study, name, endpoint), partial(_check_key, study, name, endpoint)
        )


def check_model_name(study: Study, model: str | None) -> None:
    """Raise InputError where --model names none of the study's; None is all of them."""
    if model is not None and model not in study.models:
        raise InputError(
            f"{study.file}: --model: unknown model {model!r}, expected one of "
            f"{sorted(study.models)}"
        )


def check_recipes(study: Study, made: Collection[Checkpoint], *, train_here: bool = True) -> None:
    """Raise InputError where training must not or could not begin on this machine, or its export,
    so that no course is paid for in vain.

    Whether a hub id exists is for `fetch` to find out, which has a network; it trains on another
    machine, perhaps.
    """
    tuned = sorted({one.model for one in made if one.tuned})
    bases = dict.fromkeys((one.model, one.tuned) for one in made)
    checks = [partial(check_licences, study, [model]) for model in tuned]
    checks += [partial(_check_base, study, *base) for base in bases]
    if train_here:
        checks += [
            partial(_check_training, study, model, study.models[model].recipe) for model in tuned
        ]
    all_of(*checks)


def check_exports(study: Study, made: Collection[Checkpoint]) -> None:
    """Raise InputError where a model must not or could not be exported on this machine."""
    models = sorted({one.model for one in made})
    all_of(
        lambda: check_recipes(study, made, train_here=False),
        *(partial(_check_export, study, model) for model in models),
    )


def _check_base(study: Study, model: str, tuned: bool) -> None:
    with at(study, f"models.{model}.recipe.{'start' if tuned else 'compare'}"):
        base, _ = study.models[model].recipe.base(tuned)
        if not is_hub_id(base):
            _check_weights(load_gguf_path(base))


def _check_weights(path: Path) -> None:
    if not path.is_dir():
        check_gguf(path)
        return
    from cbt_ray.training.start.four_bit import check_folder

    check_folder(path)


def _check_training(study: Study, model: str, recipe: Recipe) -> None:
    """What this machine would lack after hours of other stages."""
    _check_export(study, model, "trl")
    if recipe.backend == "unsloth":
        with at(study, f"models.{model}.recipe.backend"):
            require_unsloth()
    if recipe.tensorboard:
        from cbt_ray.training.event_file import must_be_there

        with at(study, f"models.{model}.recipe.tensorboard"):
            must_be_there()
    with at(study, f"models.{model}.recipe.preferences"):
        preferences.check(study, recipe)
    if not is_hub_id(recipe.start):  # of one the files are not here yet: `fetch` does it
        try_template(study, model, recipe.start)


def _check_export(study: Study, model: str, *more: str) -> None:
    """What llama.cpp makes of a model is asked before its training, and after its export."""
    from cbt_ray.training.export.gguf import converter

    with at(study, f"models.{model}"):
        need("torch", *more)
        best_build()
        converter()


def try_template(study: Study, model: str, start: str, name: str | None = None) -> None:
    """Raise InputError where a recipe's chat template and tokenizer, at `start`, make no exact mask
    of a conversation.

    `name` stands for the place in the message.
    """
    from cbt_ray.training.rehearsal import rehearse

    recipe = study.models[model].recipe
    masked = recipe.method == "orpo" or study.dataset.format != "paper"
    masked = masked or study.models[model].learns is not None
    with at(study, f"models.{model}.recipe"):
        rehearse(start, recipe, study.told_date, masked=masked, name=name)


def _check_price(study: Study, name: str, endpoint: Remote) -> None:
    """A budget of dollars holds only where each call's price is known."""
    from cbt_ray.llm.prices import price

    if study.budget.cost is None or not isinstance(endpoint, LiteLLMEndpoint):
        return
    if endpoint.price is not None:
        return
    if endpoint.api_base is not None or price(endpoint.model) is None:
        raise InputError(
            f"{study.file}: endpoints.{name}.price: expected one, since budget.cost is set; [0, 0] "
            "where it is free"
        )


def _check_key(study: Study, name: str, endpoint: Remote) -> None:
    variable = endpoint.api_key_env
    if variable is not None and not os.environ.get(variable, "").strip():
        expected = f"expected the environment variable {variable} to hold a key"
        raise InputError(f"{study.file}: endpoints.{name}.api_key_env: {expected}")


@contextmanager
def at(study: Study, field: str = "") -> Iterator[None]:
    """Say in which file and field an InputError has its cause, unless it names the file itself."""
    try:
        yield
    except InputError as error:
        where = f"{study.file}: "
        own = f"{where}{field}: " if field else where
        error.args = tuple(
            said if said.startswith(where) else f"{own}{said.removeprefix('gguf: ')}"
            for said in error.problems
        )
        raise


def _or(get: Callable[[], T], other: T | None) -> T | None:
    try:
        return get()
    except InputError:
        return other
