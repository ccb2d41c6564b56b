"""Published: a tuned model as it is handed to people. Its files by name, its card, and `latest`, which moves when all is there.

<study>/models/<name>/latest.json    the unit's key and where each file lies; README.md, Modelfile and SHA256SUMS beside it

Jobs address models by their keys and read none of this.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cbt_ray.store import Blob, Store
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, LlamaCppEndpoint
from cbt_ray.study.licence import Demands, demands_of, published_name
from cbt_ray.study.model import Arm
from cbt_ray.training.export.card import CardFacts, CardFile, card
from cbt_ray.training.export.modelfile import modelfile
from cbt_ray.training.finetune import Made
from cbt_ray.unit import Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.keys import THERAPIST_PROMPT

FOLDER = "models"
_DATA = ("examples", "windows", "tokens", "supervised_tokens", "turns_left_out", "pairs", "steps", "tokens_seen")
_PLACES = {
    "start",
    "compare",
    "preferences",
    "licence",
    "preferences_licence",
    "seed",
    "memory_gib",
    "tensorboard",
    "safetensors",
}
"""Fields of a recipe that a card does not list among its numbers."""


def files_of(made: Made, name: str, *, safetensors: bool) -> dict[str, Path]:
    """The files of a tuned model under the names that people see."""
    files = {f"{name}.gguf": made.exported.gguf.path}
    if safetensors:
        files |= {f"safetensors/{file.name}": file for file in sorted(made.exported.merged.iterdir())}
    return files


def write_texts(
    bench: Bench, model: str, made: Made, files: Mapping[str, Blob], source: Mapping[str, Any], folder: Path
) -> dict[str, Path]:
    """Write what people read: the card, the Modelfile, and the notice that a licence asks for."""
    name, demands, arm = published_name(bench.study, model), demands_of(bench.study, model), arm_of(bench.study, model)
    sampling = _served(bench.study, arm)
    texts = {"Modelfile": modelfile(f"{name}.gguf", made.base, sampling, ", ".join(one.name for one in demands.licences))}
    texts |= {"Notice": demands.notice_file} if demands.notice_file else {}
    listed = [CardFile(file, blob.sha256, blob.size) for file, blob in files.items()]
    listed += [CardFile(file, *_sum(text)) for file, text in texts.items()]
    texts["README.md"] = card(_facts(bench, model, made, demands, listed, source))
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text)
    return {file: folder / file for file in texts}


def arm_of(study: Study, model: str) -> Arm:
    """The first arm whose therapist is this model, tuned."""
    return next(arm for arm in study.arms if (arm.model, arm.variant) == (model, "tuned"))


def _served(study: Study, arm: Arm) -> dict[str, Any]:
    """How the study serves it: sampling, and the context."""
    role = study.therapist(arm)
    endpoint = study.endpoints[role.endpoint]
    context = {"context": endpoint.context} if isinstance(endpoint, LlamaCppEndpoint) else {}
    return role.sampling.model_dump() | context


def move_latest(store: Store, study: str, name: str, unit: Unit, texts: Mapping[str, Path]) -> None:
    """Point people to this model. Call it when the unit and all of its files are in the store."""
    place = f"{study}/{FOLDER}/{name}"
    files: dict[str, dict[str, Any]] = unit.content["files"]
    for file, path in texts.items():
        store.replace(f"{place}/{file}", path.read_bytes())
    sums = "".join(f"{blob['sha256']}  {file}\n" for file, blob in sorted(files.items()))
    store.replace(f"{place}/SHA256SUMS", sums.encode())
    latest = {"name": name, "unit": str(unit.key), "files": files}
    store.replace(f"{place}/latest.json", json.dumps(latest, indent=1).encode() + b"\n")


def _facts(bench: Bench, model: str, made: Made, demands: Demands, files: list[CardFile], source: Mapping[str, Any]) -> CardFacts:
    study, metrics = bench.study, made.metrics
    recipe, endpoint = study.models[model].recipe, study.endpoints[study.therapist(arm_of(study, model)).endpoint]
    prompt = arm_of(study, model).prompt or THERAPIST_PROMPT
    return CardFacts(
        name=published_name(study, model),
        study=study.study,
        demands=demands,
        description=study.description,
        base=recipe.start,
        commit=source.get("commit"),
        base_sha256=metrics["base_sha256"],
        generator=_generator(study),
        method=f"{recipe.method}, adapter {'on a base in NF4' if recipe.load_4bit else 'on a base in full'}, by {recipe.backend}",
        data={name: metrics[name] for name in _DATA if name in metrics},
        recipe=recipe.model_dump(exclude=_PLACES),
        held_out_before=metrics.get("held_out_before"),
        held_out_after=metrics.get("held_out_after"),
        seeds={"training": recipe.seed, "dataset": study.dataset.seed},
        versions=metrics["versions"],
        checks=made.verdict.checks,
        files=files,
        prompt=f"{prompt}, SHA-256 {bench.prompts.hash(prompt)[prompt]}",
        context=endpoint.context if isinstance(endpoint, LlamaCppEndpoint) else None,
    )


def _generator(study: Study) -> str | None:
    endpoint = study.endpoints[study.roles.generator.endpoint]
    if isinstance(endpoint, LiteLLMEndpoint):
        return endpoint.model
    return endpoint.gguf if isinstance(endpoint, LlamaCppEndpoint) else "a script"


def _sum(text: str) -> tuple[str, int]:
    import hashlib

    data = text.encode()
    return hashlib.sha256(data).hexdigest(), len(data)
