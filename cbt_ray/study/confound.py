"""Confounds: what differs between the two arms of a pair besides the factor that is compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbt_ray.count import agreeing, many
from cbt_ray.study.block import in_words, values_of
from cbt_ray.study.contrast import TUNING, Contrast, Pair, pairs
from cbt_ray.study.endpoint import (
    Endpoint,
    LiteLLMEndpoint,
    LlamaCppEndpoint,
    Sampling,
    VllmEndpoint,
    is_finetuned,
)
from cbt_ray.study.form import WHOLE
from cbt_ray.study.model import Arm
from cbt_ray.study.rater import Judge
from cbt_ray.study.recipe import Recipe
from cbt_ray.study.scheduled import seeds_of

if TYPE_CHECKING:
    from cbt_ray.study.study import Study

_MEANT = {
    TUNING: {TUNING},
    "training": {TUNING, "method"},
    "method": {TUNING, "method"},
    "endpoint": {"served by", "model"},
    "seeds": {"training seeds"},
}
"""Factor -> what it is about; any other is about what has its name, such as prompt."""
_FAMILIES = (
    *("gpt", "claude", "gemini", "gemma", "llama", "mistral", "mixtral", "ministral", "qwen"),
    *("deepseek", "phi", "smollm", "command", "grok", "glm", "kimi", "granite", "nemotron"),
)
_NOT_HOW = {"seed", "method", "quantization", "start", "compare", "revision", "compare_revision"}
_NOT_HOW |= {"licence", "preferences", "preferences_licence", "backend"}
_NOT_HOW |= {"checkpoint_steps", "checkpoint_minutes", "batching"}
_NOT_HOW |= {"measured_windows", "measured_pairs", "memory_gib", "tensorboard"}
_NOT_HOW |= {"gate_prompts", "safetensors", "chat_template", "turn_end"}
"""Fields of a recipe that belong to the model, are named by themselves or do not decide what tuning
makes."""


@dataclass(frozen=True, slots=True)
class Confound:
    """One thing that a pair of arms differs in besides what is compared."""

    contrast: str
    pair: str
    """What tables call the pair."""
    plus: str
    """An arm."""
    minus: str
    what: str
    """prompt, temperature, quantization, ..."""
    values: tuple[str, str]
    """Of plus and minus."""

    @property
    def text(self) -> str:
        """In words."""
        one, other = self.values
        return f"{self.what} ({one}; {other})"


def confounds(study: Study) -> list[Confound]:
    """All confounds of all pairs that the study compares."""
    known, levels = {arm.name: arm for arm in study.arms}, study.factors
    return [
        found
        for contrast in study.contrasts
        for pair in pairs(contrast, levels)
        for found in _of_pair(study, contrast, pair, known[pair.plus], known[pair.minus])
    ]


def told(study: Study) -> list[str]:
    """What a study's contrasts do not compare alone, and what was trained once."""
    return [*beside(study), *_trained_once(study)]


def beside(study: Study) -> list[str]:
    """The same without what the scores themselves tell: a line a pair, arms that are not asked as
    they were trained, models whose epoch the test chose, and that each patient is seen once.
    """
    return [
        *_of_pairs(confounds(study)),
        *_asked_otherwise(study),
        *_chosen_by_test(study),
        *_seen_once(study),
    ]


def _chosen_by_test(study: Study) -> Iterator[str]:
    """Models of whose epochs the best one is kept where only a test can tell which it is."""
    held_out = study.dataset.held_out > 0
    for name in dict.fromkeys(arm.model for arm in study.arms if arm.tuned and arm.model):
        if study.models[name].recipe.keep == "best" and not held_out:
            yield (
                f"{name}: its epoch is chosen by the loss on the patients that are tested "
                "(`dataset.test`), since nothing is held out (`dataset.held_out`): what is found "
                "on them flatters it"
            )


def _asked_otherwise(study: Study) -> Iterator[str]:
    for arm in study.arms:
        trained = study.form_named(study.form_name(arm)).prompt
        if arm.tuned and arm.prompt not in (None, trained):
            yield f"{arm.name} is asked with {arm.prompt} and was trained with {trained}"


def _of_pairs(found: list[Confound]) -> list[str]:
    said: dict[tuple[str, str, str], list[str]] = {}
    for one in found:
        said.setdefault((one.contrast, one.plus, one.minus), []).append(one.text)
    return [
        f"{contrast}: {plus} and {minus} also differ in {', '.join(texts)}"
        for (contrast, plus, minus), texts in said.items()
    ]


def _of_pair(
    study: Study, contrast: Contrast, pair: Pair, plus: Arm, minus: Arm
) -> Iterator[Confound]:
    one, other = _traits(study, plus), _traits(study, minus)
    names = [
        name for name in dict.fromkeys((*one, *other)) if name in one and name in other
    ]  # what only one of them has, as a teacher, it has by being what it is
    differ = [name for name in names if one[name] != other[name]]
    if "form" in differ and plus.prompt is None and minus.prompt is None:
        differ = [name for name in differ if not name.startswith("prompt")]  # a form has its own
    meant = {part for factor in contrast.plus for part in _meant(factor)}
    if not meant & set(names) and len(differ) == 1:
        meant = set(differ)  # a name of the user's own, for the one thing that differs
    for name in differ:
        if name not in meant:
            yield Confound(
                contrast.name, pair.label, plus.name, minus.name, name, (one[name], other[name])
            )
    yield from _of_judge(study, contrast, pair, plus, minus)


def _meant(factor: str) -> set[str]:
    if factor == "sampling":
        return set(Sampling.model_fields)
    return _MEANT.get(factor, {factor})


def _traits(study: Study, arm: Arm) -> dict[str, str]:
    """What an arm's therapist is made of, each in words."""
    role = study.therapist(arm)
    endpoint = study.endpoints[role.endpoint]
    found = {
        "model": arm.model or _named(endpoint),
        TUNING: arm.kind,
        "prompt": _file(study.form_of(arm).prompt),
        "form": study.form_name(arm) or WHOLE,
        **{name: in_words(value) for name, value in values_of(role.sampling).items()},
        "served by": _served(endpoint),
    }
    recipe = study.models[arm.model].recipe if arm.model is not None else None
    if recipe is not None and (is_finetuned(endpoint) or arm.tuned):
        found["model"] = "@".join(filter(None, recipe.base(arm.tuned)))
        found["quantization"] = _precision(recipe, endpoint)
    if recipe is not None and arm.tuned:
        found |= _training(study, recipe)
        found["prompt in training"] = _file(study.form_named(study.form_name(arm)).prompt)
        found["training seeds"] = str(len(seeds_of(study, arm)))
    return found


def _file(prompt: str) -> str:
    return prompt.removesuffix(".j2")


def _seen_once(study: Study) -> Iterator[str]:
    if study.sessions.count * study.sessions.replicates == 1:
        yield (
            "each patient has one session in each arm: what differs between patients cannot be "
            "told from chance in a session (`sessions.replicates`)"
        )


def _trained_once(study: Study) -> Iterator[str]:
    once = [arm.name for arm in study.arms if arm.tuned and len(seeds_of(study, arm)) == 1]
    if once:
        yield (
            f"{', '.join(once)}: trained once, so what is found holds for that checkpoint and not "
            "for how it was trained (`models.NAME.seeds`)"
        )


def _training(study: Study, recipe: Recipe) -> Mapping[str, str]:
    teacher = study.teacher(recipe)
    wrote = _named(study.endpoints[teacher.endpoint]) if teacher else "nobody"
    given = recipe.method == "orpo" and teacher is None
    how = {name: value for name, value in values_of(recipe).items() if name not in _NOT_HOW}
    return {
        "method": recipe.method,
        "teacher": f"pairs of {recipe.preferences}" if given else wrote,
        **{f"recipe's {name}": in_words(value) for name, value in how.items()},
    }


def _named(endpoint: Endpoint) -> str:
    if isinstance(endpoint, LiteLLMEndpoint):
        return endpoint.model
    if isinstance(endpoint, VllmEndpoint):
        return endpoint.weights
    return endpoint.gguf if isinstance(endpoint, LlamaCppEndpoint) else "a script"


def _precision(recipe: Recipe, endpoint: Endpoint) -> str:
    if isinstance(endpoint, VllmEndpoint):
        return endpoint.dtype
    return recipe.quantization if is_finetuned(endpoint) else "of the server"


def _served(endpoint: Endpoint) -> str:
    if isinstance(endpoint, LlamaCppEndpoint):
        turned = f", turned into {endpoint.requantize}" if endpoint.requantize else ""
        return f"llama.cpp with a context of {many(endpoint.context, 'token')}{turned}"
    if isinstance(endpoint, VllmEndpoint):
        return f"vLLM with a context of {many(endpoint.context, 'token')}"
    if isinstance(endpoint, LiteLLMEndpoint):
        joined = ", its system prompt in the first message" if endpoint.system != "message" else ""
        return f"a server{joined}"
    return "a script"


def _of_judge(
    study: Study, contrast: Contrast, pair: Pair, plus: Arm, minus: Arm
) -> Iterator[Confound]:
    """Whether the judge is of the family of one side's therapist or teacher, and not of the
    other's.
    """
    judge = study.judges.get(study.probed or "")
    family = family_of(_judge_named(study, judge)) if judge else None
    if family is None:
        return
    one, other = (_kin(study, arm, family) for arm in (plus, minus))
    if one != other:
        yield Confound(
            contrast.name,
            pair.label,
            plus.name,
            minus.name,
            f"relation to the judge, a {family}",
            (_kinship(one), _kinship(other)),
        )


def _judge_named(study: Study, judge: Judge) -> str:
    """The model that a judge is, or is made of."""
    if judge.model is None:
        return _named(study.endpoints[judge.endpoint])
    return study.models[judge.model].recipe.base(judge.tuned)[0]


def _kinship(kin: list[str]) -> str:
    if not kin:
        return "none is of its family"
    return f"{' and '.join(kin)} {agreeing(len(kin), 'is', 'are')} of its family"


def _kin(study: Study, arm: Arm, family: str) -> list[str]:
    """Who of an arm is of a family: its therapist, and who wrote what it was trained on."""
    endpoint = study.endpoints[study.therapist(arm).endpoint]
    recipe = study.models[arm.model].recipe if arm.model is not None else None
    made_of = recipe.base(arm.tuned)[0] if recipe else _named(endpoint)
    writer = study.teacher(recipe) if arm.tuned and recipe else None
    teacher = _named(study.endpoints[writer.endpoint]) if writer else ""
    return [
        who
        for who, name in (("therapist", made_of), ("teacher", teacher))
        if family_of(name) == family
    ]


def family_of(model: str) -> str | None:
    """The family that a model's name speaks of, such as qwen; None where it speaks of none."""
    name = model.lower().rsplit(":", 1)[-1]
    if re.search(r"(^|[/_.-])o[134]($|[-_.])", name):
        return "gpt"
    found = next((family for family in _FAMILIES if family in name), None)
    return "mistral" if found in ("mixtral", "ministral") else found
