"""How long a training takes on a GPU: its tokens, as the study file expects them, at the speed of
a table.

No line of the table was measured with this project: one is derived from published hours, and the
others are assumed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cbt_ray.errors import InputError
from cbt_ray.planning.tokens import TOKENS_PER_MESSAGE, therapist_turns, tokens_of
from cbt_ray.prompts import Prompts
from cbt_ray.study import Study
from cbt_ray.study.lesson import learners
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.recipe import Recipe
from cbt_ray.therapy import dialogue
from cbt_ray.therapy.language import load_language
from cbt_ray.training.backend.forecast import CUDA, NF4
from cbt_ray.training.backend.memory import GIB

A40_SPEED = 840.0
"""Tokens a second of a model of 8 thousand million parameters in 4 bit on an A40: what is counted
here for studies/paper.yaml, by the 24 to 26 hours that its published trainings took."""
MEMORY = {"l4": 24, "a10g": 24, "a40": 48, "l40s": 48, "a100": 80, "h100": 80, "h200": 141}
"""GB, as NVIDIA states them; of an A100 the larger one."""
PEAK = {"l4": 121, "a10g": 70, "a40": 150, "l40s": 362, "a100": 312, "h100": 989, "h200": 989}
"""bf16 TFLOPS without sparsity, as NVIDIA states them."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Gpu:
    """A GPU by its name, and what an hour of it costs, if that is known."""

    name: str
    dollars: float | None = None

    @classmethod
    def of(cls, text: str) -> Gpu:
        """`NAME` or `NAME=DOLLARS`, as a user writes it."""
        name, told, price = text.partition("=")
        if name.lower() not in PEAK:
            raise InputError(f"--gpu: expected one of {', '.join(PEAK)}, found {name!r}")
        try:
            dollars = float(price) if told else None
        except ValueError:
            dollars = -1.0
        if dollars is not None and not 0 <= dollars < 1e6:
            raise InputError(f"--gpu: expected dollars an hour after =, found {price!r}")
        return cls(name.lower(), dollars)

    @property
    def speed(self) -> float:
        """Tokens a second, of 8 thousand million parameters."""
        return A40_SPEED * PEAK[self.name] / PEAK["a40"]

    @property
    def memory_gib(self) -> float:
        """What it has."""
        return MEMORY[self.name] * 1e9 / GIB

    @property
    def source(self) -> str:
        """Where that is from."""
        if self.name == "a40":
            return "derived from published hours, not measured here"
        return "assumed from an A40's by the peak of both, not measured"


@dataclass(frozen=True)
class Hours:
    """What a model's training takes on a GPU, with all candidates of a search; None: not known."""

    model: str
    tokens: float | None
    hours: float | None
    dollars: float | None
    trainings: int = 1


def hours_on(study: Study, made: Checkpoint, gpu: Gpu, prompts: Prompts) -> Hours:
    """How long the trainings of one checkpoint take, one after the other."""
    candidates, size = study.candidates(made), billions(study.recipe_of(made))
    fed = [_tokens(study, one, prompts) for one in candidates]
    tokens = None if None in fed else sum(one or 0 for one in fed)
    hours = tokens * size / 8 / gpu.speed / 3600 if tokens is not None and size else None
    dollars = hours * gpu.dollars if hours is not None and gpu.dollars is not None else None
    return Hours(f"{made.model}{made.suffix}", tokens, hours, dollars, len(candidates))


def least_gib(recipe: Recipe) -> float | None:
    """GiB of a GPU that weights and CUDA alone take, if a model's name says how large it is."""
    size = billions(recipe)
    bytes_each = NF4 if recipe.load_4bit else 2
    return None if size is None else (size * 1e9 * bytes_each + CUDA) / GIB


def billions(recipe: Recipe) -> float | None:
    """A model's size, if its name says so."""
    found = _SIZE.search(recipe.start.rpartition("/")[2])
    if found is None:
        return None
    return float(found[1]) / (1000 if found[2].lower() == "m" else 1)


def _tokens(study: Study, made: Checkpoint, prompts: Prompts) -> float | None:
    """All that is fed, padding aside; None where its text is not the study's own courses."""
    recipe = study.recipe_of(made)
    if made.model in learners(study) or study.teacher(recipe) is None:
        return None
    writing, dataset = study.writing, study.dataset
    rules, patients = writing.courses, writing.patients.count
    trained = patients * (1 - dataset.held_out) * (1 - dataset.test)
    numbers = range(1, rules.sessions + 1)
    whole = sum(_session(study, recipe, number, prompts) for number in numbers)
    tokens = trained * whole * recipe.epochs
    if recipe.max_steps is None:
        return tokens
    examples = trained * rules.sessions * _examples(study, recipe, prompts) * recipe.epochs
    return tokens * recipe.max_steps * recipe.batch * recipe.accumulation / examples


def _session(study: Study, recipe: Recipe, number: int, prompts: Prompts) -> float:
    """Tokens of the examples of one session."""
    writing, form = study.writing, study.writing.form
    tokens = tokens_of(study, writing.generator)
    about = ("Alex Moreau", number, writing.courses.sessions, study.phase_of(number), "")
    system = tokens.of(dialogue.therapist_system(prompts, form, *about))
    turns = therapist_turns(study, prompts)
    spoken = _spoken(study, prompts) + 2 * turns * TOKENS_PER_MESSAGE
    if recipe.method == "orpo":  # both answers, each after all that was said
        return 2 * (turns * system + spoken * (turns + 1) / 2)
    if study.dataset.format == "session":
        return system + spoken
    return turns * system + spoken * (turns + 1) / 2


def _examples(study: Study, recipe: Recipe, prompts: Prompts) -> float:
    """Examples of a session."""
    whole = study.dataset.format == "session" and recipe.method == "sft"
    return 1 if whole else therapist_turns(study, prompts)


def _spoken(study: Study, prompts: Prompts) -> float:
    """What both say in a session, without the therapist's system prompt."""
    writing = study.writing
    if writing.courses.write == "parts":
        return writing.generator.expected_tokens * len(load_language(prompts).course.parts)
    patient = writing.course_patient or writing.generator
    return writing.courses.exchanges * (patient.expected_tokens + writing.generator.expected_tokens)
