"""Published: a tuned model as it is handed to people.

Its card, its Modelfile, and `latest`, which moves when all is there.

<study>/models/<name>/latest.json    the unit's key and where each file lies; README.md, Modelfile
and SHA256SUMS beside it

All of it is written from the unit and the study file, and again where one of them says something
else. Jobs address models by their keys and read none of this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cbt_ray.llm.template import ChatTemplate
from cbt_ray.rating.judge import PROMPTS as JUDGE_PROMPTS
from cbt_ray.stages.searched import Candidate, chosen_of
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, LlamaCppEndpoint, Role, VllmEndpoint
from cbt_ray.study.lesson import learners
from cbt_ray.study.licence import Demands, demands_of, published_name
from cbt_ray.study.model import Arm, Checkpoint
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.export.card import CardFacts, CardFile, adapter_card, card, licence_file
from cbt_ray.training.export.front import LICENCE_FILE, Front
from cbt_ray.training.export.modelfile import modelfile
from cbt_ray.training.gate.verdict import Check
from cbt_ray.training.measured import kept_of, points_of
from cbt_ray.unit import Unit
from cbt_ray.work.bench import Bench

FOLDER = "models"
_DATA = (
    "examples",
    "windows",
    "tokens",
    "supervised_tokens",
    "turns_left_out",
    "pairs",
    "steps",
    "tokens_seen",
)
_PLACES = {
    "start",
    "compare",
    "preferences",
    "licence",
    "preferences_licence",
    "seed",
    "chat_template",
    "turn_end",
    "memory_gib",
    "tensorboard",
    "safetensors",
    "search",
}
"""Fields of a recipe that a card does not list among its numbers."""


def publish(bench: Bench, made: Checkpoint, unit: Unit) -> None:
    """Point people to this model, unless they are.

    Its unit, and so all that it names, is in the store.
    """
    place = f"{bench.study.study}/{FOLDER}/{published_name(bench.study, made)}"
    for name, text in texts_of(bench, made, unit).items():
        if bench.store.read(f"{place}/{name}") != text.encode():
            bench.store.replace(f"{place}/{name}", text.encode())


def withdraw(bench: Bench, made: Checkpoint) -> None:
    """Point nobody to a model that is owed: what it was made of has changed.

    Its files stay.
    """
    path = f"{bench.study.study}/{FOLDER}/{published_name(bench.study, made)}/latest.json"
    data = bench.store.read(path)
    if data is not None:
        bench.store.set_aside(path, seen=data)


def texts_of(bench: Bench, made: Checkpoint, unit: Unit) -> dict[str, str]:
    """What people read beside a model's files.

    `latest.json` comes last, so it names what is there.
    """
    study, name, demands = (
        bench.study,
        published_name(bench.study, made),
        demands_of(bench.study, made.model),
    )
    files, chosen = files_of(bench, made, unit), chosen_of(bench, made)
    template = ChatTemplate(**chosen.adapter.content["template"])
    licence = ", ".join(one.name for one in demands.licences)
    texts = {
        "Modelfile": modelfile(
            *(f"{name}.gguf", template, _served(study, made), licence),
            adds_bos=unit.content.get("adds_bos", True),
        )
    }
    texts |= {"Notice": demands.notice_file} if demands.notice_file else {}
    listed = [CardFile(file, blob["sha256"], blob["size"]) for file, blob in files.items()]
    listed += [
        CardFile(file, hashlib.sha256(text.encode()).hexdigest(), len(text.encode()))
        for file, text in texts.items()
    ]
    facts = _facts(bench, made, chosen, unit, demands, listed)
    licence_text = licence_file(facts)
    texts |= {LICENCE_FILE: licence_text} if licence_text else {}
    texts["adapter/README.md"] = adapter_card(facts)
    texts["README.md"] = card(facts)
    texts["SHA256SUMS"] = "".join(
        f"{one.sha256}  {one.name}\n" for one in sorted(listed, key=lambda one: one.name)
    )
    latest = {"name": name, "unit": str(unit.key), "files": files}
    return {**texts, "latest.json": json.dumps(latest, indent=1) + "\n"}


def files_of(bench: Bench, made: Checkpoint, unit: Unit) -> dict[str, dict[str, Any]]:
    """The files of a tuned model by the names that people are given.

    A licence that was corrected since may ask for another.
    """
    own = f"{published_name(bench.study, made)}.gguf"
    files: dict[str, dict[str, Any]] = unit.content["files"]
    return {own if blob == unit.content["gguf"] else file: blob for file, blob in files.items()}


def front_of(study: Study, made: Checkpoint) -> Front:
    """What a tuned model says of itself."""
    demands, base = demands_of(study, made.model), study.recipe_of(made).start
    return Front(published_name(study, made), demands, base, study.language)


def arm_of(study: Study, model: str) -> Arm:
    """The first arm whose therapist is this model, tuned."""
    return next(arm for arm in study.arms if arm.tuned and arm.model == model)


def role_of(study: Study, model: str) -> Role:
    """How a tuned model is asked: as a judge, or as the first arm that it is the therapist of."""
    judge = learners(study).get(model)
    return judge if judge is not None else study.therapist(arm_of(study, model))


def _served(study: Study, made: Checkpoint) -> dict[str, Any]:
    """How the study serves it: sampling, and the context; that of its training where the endpoint
    has none.
    """
    role = role_of(study, made.model)
    endpoint = study.endpoints[role.endpoint]
    context = study.recipe_of(made).max_length
    if isinstance(endpoint, LlamaCppEndpoint | VllmEndpoint):
        context = endpoint.context
    return role.sampling.model_dump() | {"context": context}


def _facts(
    bench: Bench,
    checkpoint: Checkpoint,
    chosen: Candidate,
    unit: Unit,
    demands: Demands,
    files: list[CardFile],
) -> CardFacts:
    adapter, recipe, study = chosen.adapter, chosen.recipe, bench.study
    metrics, made, model = adapter.content["metrics"], adapter.provenance, checkpoint.model
    judges = model in learners(study)
    prompt = JUDGE_PROMPTS[0] if judges else study.form_of(arm_of(study, model)).prompt
    return CardFacts(
        name=published_name(study, checkpoint),
        study=study.study,
        language=study.language,
        demands=demands,
        description=study.description,
        base=recipe.start,
        commit=made.get("base", {}).get("commit"),
        base_sha256=metrics["base_sha256"],
        judges=judges,
        generator="people, who rated sessions" if judges else _writer(study, recipe),
        method=f"{recipe.method}, adapter "
        f"{'on a base in NF4' if recipe.load_4bit else 'on a base in full'}, by "
        f"{recipe.backend}",
        data={name: metrics[name] for name in _DATA if name in metrics},
        recipe=recipe.model_dump(exclude=_PLACES),
        searched=_searched(study.models[model].recipe),
        measured=points_of(metrics.get("measured")),
        kept=kept_of(metrics.get("kept")),
        preference=metrics.get("preference", {}),
        seeds={"training": recipe.seed, "dataset": study.seed if judges else study.dataset.seed},
        versions=unit.provenance["measured"]["versions"] | made["measured"]["versions"],
        checks=[Check(**check) for check in unit.content["metrics"]["gate"]],
        files=files,
        prompt=f"{prompt}, SHA-256 {bench.prompts.hash(prompt)[prompt]}",
        context=_served(study, checkpoint)["context"],
    )


def _searched(recipe: Recipe) -> Mapping[str, Sequence[float]]:
    """What was tried, where there was a choice."""
    return recipe.search.values if recipe.search and len(recipe.tries) > 1 else {}


def _writer(study: Study, recipe: Recipe) -> str:
    """Who wrote what it was trained on, as far as the study file says."""
    teacher = study.teacher(recipe)
    if teacher is None:
        return "whoever wrote the preference pairs"
    endpoint = study.endpoints[teacher.endpoint]
    if isinstance(endpoint, LiteLLMEndpoint):
        return endpoint.model
    return endpoint.gguf if isinstance(endpoint, LlamaCppEndpoint) else "a script"
