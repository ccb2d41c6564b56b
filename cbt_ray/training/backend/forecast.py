"""What a training will take, said before its first step: tokens, and memory from the shape of the
model and of the data.

Memory is the sum of these (h hidden, i intermediate, v vocabulary, q heads times their size; c
bytes a number: 2 on a GPU, 4 on a CPU; T tokens of the longest batch):

- weights: linear layers 0.52 bytes a parameter in 4 bit, else c; embeddings and head c, tied ones
  once. On a CPU the file that a 4-bit model was made of stays mapped: 4 bytes more
- adapter: r * (in + out) for each target and layer; 8 bytes for weight and gradient, 2 more for an
  8-bit optimizer, else 8
- activations: a layer T * c * (7h + 4q + 4i), with dropout T * (c + 1) * (5h + q + i) more. With
  gradient checkpointing one layer of them, twice, since its gradients lie beside them, and T * c *
  h of each; else all of them
- dequantized: in 4 bit the largest linear layer once more, c * h * i
- logits: five copies of [256, v] in 4 bytes (TRL's chunked loss, and ours of what is held out;
  Unsloth's, which works in pieces, too, is taken to need no more), or with ORPO four of [tokens of
  the answers, v], of all tokens where Unsloth makes them
- process: on a CPU 0.75 GiB for Python and its libraries; on a GPU 1 GiB for CUDA's own, which
  torch does not count

Without gradient checkpointing a CPU's C library may keep half as much again. Counted are the linear
layers of a dense Llama, Mistral or Qwen; of a mixture of experts it says too little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.reading import read_json
from cbt_ray.training.backend.arguments import checkpoints_gradients, total_steps, warmup_steps
from cbt_ray.training.backend.job import Job
from cbt_ray.training.backend.memory import GIB, device_gib
from cbt_ray.training.mask import IGNORED, Window

NF4 = 0.52
"""Bytes a parameter: half a byte, and a doubly quantized scale for each block of 64."""
PROCESS, CUDA = 0.75 * GIB, 1.0 * GIB
CHUNK = 256


@dataclass(frozen=True)
class Forecast:
    """Figures of a training that has not begun."""

    steps: int
    share: float
    longest: int
    tokens: float
    """A step, on average, without padding."""
    bytes: dict[str, float]
    warmup: int
    """Steps on which the learning rate rises."""

    @property
    def memory_gib(self) -> float:
        """The peak: of the GPU, or of the process without one."""
        return sum(self.bytes.values()) / GIB

    def lines(self, device: float | None) -> list[str]:
        """For people.

        The last ones warn of a warm-up without an end, and where a GPU of `device` GiB will not do.
        """
        parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in self.bytes.items() if size)
        lines = [
            f"{many(self.steps, 'step')} of {many(self.tokens, 'token')} on average, "
            f"{self.share:.1%} of them supervised; the longest window has {self.longest}",
            f"memory: about {self.memory_gib:.1f} GiB ({parts})",
        ]
        if self.warmup >= self.steps:
            lines.append(
                f"warning: warm-up takes all {many(self.steps, 'step')}, the learning rate is not "
                "reached: lower warmup_steps"
            )
        if device is not None and self.memory_gib > device:
            lines.append(
                f"warning: the GPU has {device:.1f} GiB: lower batch or max_length, or take a "
                "larger one"
            )
        return lines


def forecast(job: Job, *, cuda: bool) -> Forecast:
    """Steps, tokens and memory of a job."""
    recipe, shape = job.recipe, read_shape(job.base.folder / "config.json")
    windows = (
        [one for pair in job.pairs for one in (pair.chosen, pair.rejected)]
        if recipe.method == "orpo"
        else job.train
    )
    tokens, supervised = (
        sum(len(one.input_ids) for one in windows),
        sum(one.supervised for one in windows),
    )
    rows = 2 if recipe.method == "orpo" else 1
    longest = max(len(one.input_ids) for one in windows)
    a_step = rows * recipe.batch * recipe.accumulation * tokens / len(windows)
    return Forecast(
        total_steps(job),
        supervised / tokens,
        longest,
        a_step,
        _bytes(job, shape, rows * min(recipe.batch, len(windows)) * longest, windows, cuda),
        warmup_steps(job),
    )


def tell(job: Job) -> None:
    """Say the forecast of a job through its `say`."""
    device = device_gib()
    for line in forecast(job, cuda=device is not None).lines(device):
        job.say(line)


@dataclass(frozen=True)
class Shape:
    """What config.json says of a dense transformer."""

    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    queries: int
    keys: int
    tied: bool

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear layer."""
        h, i, q, k = self.hidden, self.intermediate, self.queries, self.keys
        attention = {"q_proj": (h, q), "k_proj": (h, k), "v_proj": (h, k), "o_proj": (q, h)}
        return {**attention, "gate_proj": (h, i), "up_proj": (h, i), "down_proj": (i, h)}

    @property
    def linear(self) -> int:
        """Parameters of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.projections.values())

    @property
    def embeddings(self) -> int:
        """Parameters of embeddings and head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)


def read_shape(file: Path) -> Shape:
    """From a model's config.json; InputError names what it lacks."""
    try:
        config: dict[str, Any] = read_json(file)
        heads = config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        return Shape(
            config["hidden_size"],
            config["intermediate_size"],
            config["num_hidden_layers"],
            config["vocab_size"],
            heads * size,
            (config.get("num_key_value_heads") or heads) * size,
            bool(config.get("tie_word_embeddings", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{file}: expected the shape of a transformer ({error})") from error


def _bytes(
    job: Job, shape: Shape, tokens: int, windows: list[Window], cuda: bool
) -> dict[str, float]:
    recipe, number = job.recipe, 2 if cuda else 4
    four, optimizer = recipe.load_4bit, 2 if "8bit" in recipe.optimizer else 8
    return {
        "weights": _weights(job, shape, cuda),
        "adapter": _adapter(job, shape) * (8 + optimizer),
        "activations": _activations(job, shape, tokens, cuda),
        "dequantized": number * shape.hidden * shape.intermediate if four else 0,
        "logits": 4 * shape.vocabulary * _loss_rows(job, windows),
        "process": CUDA if cuda else PROCESS,
    }


def _weights(job: Job, shape: Shape, cuda: bool) -> float:
    linear, number = shape.layers * shape.linear, 2 if cuda else 4
    if not job.recipe.load_4bit:
        return number * (linear + shape.embeddings)
    return linear * (NF4 if cuda else NF4 + 4) + shape.embeddings * number


def _activations(job: Job, shape: Shape, tokens: int, cuda: bool) -> float:
    number = 2 if cuda else 4
    layer = number * (7 * shape.hidden + 4 * shape.queries + 4 * shape.intermediate)
    if job.recipe.lora.dropout:
        layer += (number + 1) * (5 * shape.hidden + shape.queries + shape.intermediate)
    if checkpoints_gradients(job.recipe.max_length, cuda):
        return tokens * (2 * layer + shape.layers * number * shape.hidden)
    return tokens * shape.layers * layer


def _adapter(job: Job, shape: Shape) -> int:
    lora = job.recipe.lora
    return shape.layers * sum(
        lora.r * sum(shape.projections[name]) for name in lora.targets if name in shape.projections
    )


def _loss_rows(job: Job, windows: list[Window]) -> int:
    """Rows of logits that lie in memory at once, copies included."""
    if job.recipe.method == "orpo":
        rows = 2 * job.recipe.batch
        if job.recipe.backend == "unsloth":  # it makes logits of all tokens
            return 4 * rows * max((len(window.input_ids) for window in windows), default=0)
        return 4 * rows * _supervised(windows)
    return 5 * CHUNK


def _supervised(windows: list[Window]) -> int:
    """Of the window with the most."""
    return max((sum(label != IGNORED for label in window.labels) for window in windows), default=0)
