"""The recipe: how a model is tuned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from cbt_ray.study.block import Block, Seed, Share, refuse_all
from cbt_ray.study.pairs import MADE
from cbt_ray.study.search import Epochs, LearningRate, Rank, Search, Tried

MOST_ALPHA = 65_536
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

    r: Rank = 16
    """Rank."""
    alpha: int = Field(16, ge=1, le=MOST_ALPHA)
    """The scale is alpha / r."""
    dropout: Share = 0.0
    """Dropout of the adapter."""
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Its layers."""


class Recipe(Block):
    """How a model is tuned: what training starts from, what the tuned model is compared with, and
    every number in between.
    """

    decides_nothing: ClassVar[frozenset[str]] = frozenset(
        {
            *("checkpoint_steps", "checkpoint_minutes", "memory_gib", "tensorboard"),
            *("gate_prompts", "safetensors", "licence", "preferences_licence", "batching"),
        }
    )

    start: str
    """What training starts from: a GGUF, a folder or a hub id."""
    compare: str
    """What the tuned model is compared with.

    The sound default is the same checkpoint as `start`.
    """
    revision: str | None = None
    """Commit, tag or branch of the hub id `start`; none: `main`.

    It is the revision of `compare`, too, where that is the same hub id.
    """
    compare_revision: str | None = None
    """The same of `compare`, where that is another hub id."""
    licence: str
    """Of the weights: one that cbt-ray knows, or one of `licences`."""
    chat_template: str | None = None
    """Jinja in place of the model's own chat template.

    It counts in training and in all exports of both variants, and is for a model whose own one is
    refused, or that has none.
    """
    turn_end: str | None = Field(None, min_length=1)
    """The token that ends the therapist's turn, such as `<|end|>`.

    Without it: the one that the chat template writes there.
    """
    method: Literal["sft", "orpo"] = "sft"
    """`sft`: on the dataset. `orpo`: on preference pairs.

    `orpo` is that of Hong et al. 2024, arXiv 2403.07691.
    """
    preferences: str | None = None
    """With `orpo`: `made:NAME`, a name under `pairs`, or a file of pairs.

    A file is relative to the study file and has JSON lines of `messages`, `chosen` and `rejected`;
    `store:<sha256>-<name>` once `submit` brought it into the store.
    """
    preferences_licence: str | None = None
    """With `orpo`: licence of the model or data set that the pairs are from."""
    orpo_beta: float = Field(0.1, gt=0, le=1000)
    """Weight of the odds ratio against the likelihood of what was chosen."""
    loss: Literal["full", "answer"] = "full"
    """Of `paper` examples: on the full text, or on the answer.

    `full`, as published: on all of an example. `answer`: on the therapist's answer alone.
    """
    backend: Literal["trl", "unsloth"] = "trl"
    """`unsloth` needs a CUDA GPU and that package; `trl` runs anywhere."""
    load_4bit: bool = True
    """NF4 with double quantization."""
    lora: Lora = Lora()
    """The adapter."""
    learning_rate: LearningRate = 2e-4
    """At the end of the warm-up."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Of the learning rate."""
    warmup_steps: int | float = Field(0.06, ge=0)
    """Steps from 0 to the learning rate; below 1, that share of all steps.

    A session is an example, and so a study has few steps.
    """
    weight_decay: float = Field(0.01, ge=0, le=10)
    """Of the optimizer."""
    optimizer: str = "adamw_8bit"
    """A name that transformers knows."""
    batch: int = Field(4, ge=1, le=65_536)
    """Examples at once."""
    accumulation: int = Field(4, ge=1, le=65_536)
    """Batches a step."""
    batching: Literal["padded", "padding_free"] = "padding_free"
    """How the windows of a batch are laid out.

    `padding_free`: in one row after each other, each seeing itself only, without a mask of the
    row's square. `padded`: each in a row of its own, for models whose attention is not SDPA.
    """
    epochs: Epochs = 1.0
    """Times through the training examples."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after so many steps."""
    max_length: int = Field(10_000, ge=64, le=10_000_000)
    """Longest example in tokens.

    A longer session is windowed at whole turns.
    """
    seed: Seed = 3407
    """Of training."""
    checkpoint_steps: int = Field(50, ge=1)
    """Most steps between checkpoints in the store."""
    checkpoint_minutes: float = Field(10, gt=0, le=10_000)
    """Most minutes between them.

    Whichever comes first is what a lost node costs at most, and the step under way.
    """
    keep: Literal["last", "best"] = "last"
    """Which adapter is the model: that of the last step, or of the best epoch.

    `best` has the lowest held-out loss; where nothing is held out, the lowest loss of the test
    split. At equal losses it is the earlier.
    """
    search: Search | None = None
    """Values of which the best are looked for, by held-out loss."""
    measured_windows: int | None = Field(None, ge=1)
    """Most windows of each split whose loss is taken; none: all.

    Before training, at each whole epoch and at the end, spread evenly over the text. Of what is
    trained on they are a sample: as many as the larger of the other splits has, at least 48.
    """
    measured_pairs: int = Field(100, ge=1)
    """With `orpo`: pairs that are measured before and after training.

    So many pairs that are trained on, and so many of patients who are held out; spread evenly.
    """
    memory_gib: float | None = Field(None, gt=0)
    """GiB that training needs of its accelerator; `plan` shows it.

    Without an accelerator, of the machine's memory.
    """
    tensorboard: bool = False
    """Write TensorBoard files into the store, too."""
    quantization: Literal["q8_0", "f16", "q6_k", "q5_k_m", "q4_k_m", "q4_0"] = "q8_0"
    """Of both variants' GGUF.

    `q4_0` is what CPUs without AMX compute fastest, and loses most.
    """
    gate_prompts: int = Field(20, ge=1, le=200)
    """Real prompts on which an export is judged.

    Before that, nobody is given it.
    """
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
        if self.preferences == MADE:
            yield f"preferences: expected {MADE}NAME with a name under `pairs`, found {MADE}"
        pairs = self.preferences or ""
        if pairs.startswith(PAIRS_IN_STORE) and not _IN_STORE.fullmatch(pairs):
            yield f"preferences: expected {PAIRS_IN_STORE}<sha256>-<name>, found {pairs}"
        if self.warmup_steps > 1 and self.warmup_steps % 1:
            yield (
                "warmup_steps: expected whole steps, or a share of them below 1, found "
                f"{self.warmup_steps:g}"
            )
        yield from self._of_search()

    def _of_search(self) -> Iterator[str]:
        if self.search is None:
            return
        if not self.search.values:
            yield "search: expected values of learning_rate, rank or epochs, none given"
        if self.method == "orpo":
            yield (
                "search: expected none with `method: orpo`, since a held-out loss does not say how "
                "a model takes to pairs"
            )
        if self.search.epochs and self.max_steps is not None:
            yield "search.epochs: expected none with max_steps, which ends all of them alike"
        for number, rank in enumerate(self.search.rank or ()):
            if not 0 < self._alpha(rank) <= MOST_ALPHA or self._alpha(rank) % 1:
                yield (
                    f"search.rank.{number}: expected a rank for which alpha / r, {self.lora.alpha} "
                    f"/ {self.lora.r}, gives a whole alpha of at most {MOST_ALPHA:,}, found {rank}"
                )

    def _alpha(self, rank: int) -> float:
        """With the same scale, alpha / r."""
        return self.lora.alpha * rank / self.lora.r

    @property
    def searched(self) -> Mapping[str, float]:
        """The recipe's own values of the fields that can be searched; no epochs where `max_steps`
        ends the training.
        """
        own = {"learning_rate": self.learning_rate, "rank": self.lora.r}
        return own if self.max_steps else {**own, "epochs": self.epochs}

    @property
    def tries(self) -> list[Tried]:
        """What each candidate has in place of the recipe's own values; without a search there is
        one, which has nothing.
        """
        return self.search.tries(self.searched) if self.search else [()]

    def tried(self, tried: Tried) -> Recipe:
        """The recipe of a candidate, which searches no more."""
        values = dict(tried)
        rank = int(values.pop("rank", self.lora.r))
        lora = self.lora.model_copy(update={"r": rank, "alpha": int(self._alpha(rank))})
        return self.model_copy(update={**values, "lora": lora, "search": None})

    def base(self, tuned: bool) -> tuple[str, str | None]:
        """What the tuned model, or the one that it is compared with, is made of, and the revision
        of it, which counts where it is a hub id.
        """
        if tuned:
            return self.start, self.revision
        return self.compare, self.compare_revision or (
            self.revision if self.compare == self.start else None
        )


def pairs_of(recipe: Recipe) -> str | None:
    """The name of the pairs that the study makes for a recipe; None where it takes a file, or
    none.
    """
    named = recipe.preferences or ""
    return named.removeprefix(MADE) if named.startswith(MADE) else None
