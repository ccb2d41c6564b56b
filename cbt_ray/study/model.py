"""Models that are tuned, the arms that compare them, the dataset and the analysis."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from cbt_ray.study.block import Block, Name, Seed, Share, refuse_all
from cbt_ray.study.contrast import Contrast
from cbt_ray.study.endpoint import Sampling

PAIRS_IN_STORE = "store:"
_IN_STORE = re.compile(rf"{PAIRS_IN_STORE}[0-9a-f]{{64}}-[\w.-]+", re.ASCII)
_PART = r"\w(?:[\w.-]*\w)?"
_HUB_ID = re.compile(rf"{_PART}/{_PART}", re.ASCII)


def is_hub_id(start: str) -> bool:
    """Whether a recipe's `start` or `compare` is a Hugging Face hub id, `org/name`, and no place on
    this machine.

    Decided by how it is written and never by what is on the disk, or a key would depend on the
    folder a command runs in: a folder is written with ./, ../, / or ~ in front, or with another
    number of slashes than one; a file ends in .gguf.
    """
    looks_like_one = (
        _HUB_ID.fullmatch(start) is not None and "--" not in start and ".." not in start
    )
    return looks_like_one and not start.lower().endswith(".gguf")


class Lora(Block):
    """The adapter (arXiv 2412.00251: r 16, alpha 16, dropout 0 on all linear layers)."""

    r: int = Field(16, ge=1, le=4096)
    alpha: int = Field(16, ge=1, le=65_536)
    dropout: Share = 0.0
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )


class Recipe(Block):
    """How a model is tuned: what training starts from, what the tuned model is compared with, and
    every number in between.
    """

    decides_nothing: ClassVar[frozenset[str]] = frozenset(
        {
            *("checkpoint_steps", "memory_gib", "tensorboard", "gate_prompts", "safetensors"),
            *("licence", "preferences_licence"),
        }
    )

    start: str
    """What training starts from: `package:NAME/FILE.gguf`, a GGUF, a Hugging Face folder, or a hub
    id, `org/name`."""
    compare: str
    """What the tuned model is compared with; the sound default is the same checkpoint as `start`.
    """
    revision: str | None = None
    """Commit, tag or branch of the hub id `start`, and of `compare` where it is the same one; none:
    main."""
    compare_revision: str | None = None
    """Commit, tag or branch of `compare`, where that is another hub id."""
    licence: str
    chat_template: str | None = None
    """Jinja that takes the place of the model's own chat template, in training and in all exports
    of both variants."""
    turn_end: str | None = Field(None, min_length=1)
    """The token that ends the therapist's turn, such as `<|end|>`; none: the one that the chat
    template writes there."""
    method: Literal["sft", "orpo"] = "sft"
    """`sft`: on the dataset. `orpo`: on preference pairs (Hong et al. 2024, arXiv 2403.07691)."""
    preferences: str | None = None
    """JSON lines of `messages`, `chosen` and `rejected` for `method: orpo`; beside the study file,
    or `store:<sha256>-<name>`."""
    preferences_licence: str | None = None
    """Licence of the model, or of the data set, that the pairs are from."""
    orpo_beta: float = Field(0.1, gt=0, le=1000)
    """Weight of the odds ratio beside the likelihood of what was chosen."""
    loss: Literal["full", "answer"] = "full"
    """Of `paper` examples: loss on the full text, as published, or on the therapist's answer."""
    backend: Literal["trl", "unsloth"] = "trl"
    load_4bit: bool = True
    lora: Lora = Lora()
    learning_rate: float = Field(2e-4, gt=0, le=10)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int | float = Field(0.06, ge=0)
    """Steps from 0 to the learning rate; below 1, that share of all steps (as in transformers),
    since a session is an example and
    a study has few steps. Whole numbers stay whole: they are in keys."""
    weight_decay: float = Field(0.01, ge=0, le=10)
    optimizer: str = "adamw_8bit"
    batch: int = Field(4, ge=1, le=65_536)
    accumulation: int = Field(4, ge=1, le=65_536)
    batching: Literal["padded", "padding_free"] = "padded"
    """`padding_free`: the windows of a batch lie in one row behind each other, each seeing itself
    only."""
    epochs: float = Field(1.0, gt=0, le=10_000)
    max_steps: int | None = Field(None, ge=1)
    max_length: int = Field(10_000, ge=64, le=10_000_000)
    """Longest example in tokens; a longer session is windowed at whole turns."""
    seed: Seed = 3407
    checkpoint_steps: int = Field(50, ge=1)
    """Steps between checkpoints in the store: what a lost node costs at most."""
    held_out_windows: int | None = Field(None, ge=1)
    """Windows of held-out text on which the loss before and after is taken, spread evenly; none:
    all."""
    held_out_steps: int | None = Field(None, ge=1)
    """Steps between two such losses on the way; none: only before and after."""
    memory_gib: float | None = Field(None, gt=0)
    """What training needs of its accelerator's memory (of the machine's, without one), in GiB;
    `plan` shows it."""
    tensorboard: bool = False
    """Write TensorBoard files into the store, too."""
    quantization: Literal["q8_0", "f16", "q6_k", "q5_k_m", "q4_k_m"] = "q8_0"
    gate_prompts: int = Field(20, ge=1, le=200)
    """Real prompts on which an export is judged before anybody is given it."""
    safetensors: bool = True
    """Keep the tuned model's 16-bit safetensors, too, for vLLM."""

    @model_validator(mode="after")
    def _what_goes_together(self) -> Recipe:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        if (self.method == "orpo") != (self.preferences is not None):
            yield (
                "preferences: expected a file with `method: orpo` and none without, found "
                f"{self.preferences}"
            )
        pairs = self.preferences or ""
        if pairs.startswith(PAIRS_IN_STORE) and not _IN_STORE.fullmatch(pairs):
            yield f"preferences: expected {PAIRS_IN_STORE}<sha256>-<name>, found {pairs}"
        if self.method == "orpo" and (self.backend, self.batching) != ("trl", "padded"):
            yield (
                f"method: expected sft with {self.backend} and {self.batching}, orpo takes trl "
                "and padded"
            )
        if self.warmup_steps > 1 and self.warmup_steps % 1:
            yield (
                "warmup_steps: expected whole steps, or a share of them below 1, found "
                f"{self.warmup_steps:g}"
            )
        if (self.backend, self.batching) == ("unsloth", "padding_free"):
            yield "batching: expected padded with unsloth, which switches padding_free off"

    def base(self, tuned: bool) -> tuple[str, str | None]:
        """What the tuned model, or the one that it is compared with, is made of, and the revision
        of it, which counts where it is a hub id.
        """
        if tuned:
            return self.start, self.revision
        return self.compare, self.compare_revision or (
            self.revision if self.compare == self.start else None
        )


class Model(Block):
    """One base model of the study."""

    recipe: Recipe
    seeds: int = Field(1, ge=1, le=100)
    """Checkpoints that are trained, with the recipe's seed, the next, and so on: an arm holds its
    sessions with each."""


class Checkpoint(NamedTuple):
    """A model as the finetune stage makes it."""

    model: str
    tuned: bool
    seed: int = 0
    """Number of the training seed, from 0: what is added to the recipe's `seed`."""

    @property
    def kind(self) -> str:
        """`tuned`, or `instruct`: the recipe's `compare`, exported the same way."""
        return kind_of(self.tuned)

    @property
    def id(self) -> str:
        """What it is called in keys and files."""
        return f"{self.model}-{self.kind}{self.suffix}"

    @property
    def title(self) -> str:
        """What people read."""
        return f"{self.model} {self.kind}" + (f", seed + {self.seed}" if self.seed else "")

    @property
    def suffix(self) -> str:
        """What tells it from the checkpoint of the first seed."""
        return seed_suffix(self.seed)


def kind_of(tuned: bool) -> str:
    """The kind of therapist."""
    return "tuned" if tuned else "instruct"


def seed_suffix(seed: int) -> str:
    """What a training seed adds to names; nothing for the first."""
    return f"-t{seed}" if seed else ""


Level = Annotated[str, Field(min_length=1, max_length=60)]


class Arm(Block):
    """One therapist configuration."""

    name: Name
    model: str | None = None
    """A name under `models`; none: the model of the endpoint, as it is."""
    tuned: bool = False
    """Trained as the model's recipe says; else the recipe's `compare`, where our GGUF is served."""
    endpoint: str | None = None
    """Where this arm's therapist answers, if not where `roles.therapist` does."""
    sampling: Sampling | None = None
    prompt: str | None = None
    """Another system prompt than therapist.j2 of the study's language."""
    factors: Mapping[Name, Level] = {}
    """Factor -> level; none in any arm: those of model, variant, prompt, endpoint and sampling in
    which the arms differ."""

    @property
    def kind(self) -> str:
        """`tuned` or `instruct`."""
        return kind_of(self.tuned)


class Dataset(Block):
    """What of the courses is trained on, and how it is split."""

    format: Literal["session", "paper"] = "session"
    """`session`: an example a session, loss on therapist turns, split by patient. `paper`: one a
    turn, loss on all, random."""
    held_out: Share = 0.1
    """Share held out for the loss before and after (by patients in `session`, at least one)."""
    test: Share = 0.0
    seed: Seed = 42

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Dataset:
        if self.held_out + self.test >= 1:
            raise ValueError(
                f"held_out: expected held_out + test below 1, found {self.held_out + self.test:g}"
            )
        return self


class Analysis(Block):
    """How scores are analysed; declared before the first rating, or marked as post hoc."""

    level: float = Field(0.95, gt=0.5, lt=1)
    unrated: Literal["missing", "lowest"] = "missing"
    """What an unrated session counts as in the headline; the other answers stand beside it."""
    judge: str | None = None
    """Whose ratings make the headline: one of `raters`, or somebody whose ratings were imported;
    none: the first of `raters`."""
    outcomes: tuple[str, ...] = ()
    """Measures, `rater.scale.measure` or shorter where that is clear; the first is the headline.
    None: the first measure of the first scale."""
    primary_outcomes: int = Field(1, ge=1, le=1000)
    """So many of the outcomes, from the first, are primary: Holm goes over the primary contrasts of
    all of them."""
    contrasts: tuple[Contrast, ...] | None = None
    """What is compared; none: the one factor of two levels, or whether the model was tuned. Empty:
    the study only describes."""
    thorough: bool = False
    """Refit the chain model to 999 simulated studies, too; takes some seconds more."""
