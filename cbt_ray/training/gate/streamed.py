"""A model in fp32 of which one layer at a time is in memory: its weights come from the shards and
are dropped after it.

All sequences go through a layer before the next one is read, so a pass reads the weights once. An
adapter is applied unmerged, W x + alpha/r B A x, from its own small file: what training saw,
without the rounding of a merged weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.reading import read_json

ROWS = 8192
"""Rows of the output matrix that are in memory at a time."""


class Streamed:
    """A causal language model in a Hugging Face folder: llama, mistral, qwen2 and those built
    alike.
    """

    def __init__(self, folder: Path, adapter: Path | None = None, device: str = "cpu") -> None:
        self._shards = Shards(folder, device)
        self._model = _empty(folder)
        self._decoder = self._model.get_decoder()
        self._name = next(
            name for name, module in self._model.named_modules() if module is self._decoder
        )
        if adapter is not None:
            _attach(self._model, adapter, device)
        self._layers, self._norm = list(self._decoder.layers), self._decoder.norm
        self._calls: list[dict[str, Any]] = []
        _replace_layers(self._decoder, self._calls, device)

    @property
    def vocabulary(self) -> int:
        """How many tokens have a row."""
        return int(self._model.config.vocab_size)

    def hidden(self, sequences: Sequence[Sequence[int]]) -> list[Any]:
        """What the output matrix is applied to: [tokens, width] for each sequence of ids."""
        import torch

        with torch.no_grad():
            opened = [self._open(ids) for ids in sequences]
            states = [state for state, _ in opened]
            for number, layer in enumerate(self._layers):
                states = self._through(
                    layer, f"layers.{number}", states, [calls[number] for _, calls in opened]
                )
            return [
                state[0] for state in self._through(self._norm, "norm", states, [{}] * len(states))
            ]

    def output(self) -> Iterator[Any]:
        """The output matrix, some rows at a time."""
        tied = self._model.config.tie_word_embeddings
        return self._shards.rows(f"{self._name}.embed_tokens.weight" if tied else "lm_head.weight")

    def logits(self, hidden: Sequence[Any]) -> list[Any]:
        """The logits of some positions of each sequence, over the whole vocabulary."""
        import torch

        slices = [[state @ rows.T for state in hidden] for rows in self.output()]
        return [torch.cat(parts, dim=-1) for parts in zip(*slices, strict=True)]

    def _open(self, ids: Sequence[int]) -> tuple[Any, list[dict[str, Any]]]:
        """The embedded tokens, and with which masks and positions the model itself would call each
        layer.
        """
        self._calls.clear()
        embedded = self._shards.some(f"{self._name}.embed_tokens.weight", ids)
        state = self._decoder(inputs_embeds=embedded[None], use_cache=False).last_hidden_state
        return state, list(self._calls)

    def _through(
        self, module: Any, name: str, states: list[Any], calls: list[dict[str, Any]]
    ) -> list[Any]:
        """All sequences through one part; its weights are gone when this returns."""
        from torch.func import functional_call

        weights = self._read(module, name)
        made = [
            functional_call(module, weights, (state,), call)
            for state, call in zip(states, calls, strict=True)
        ]
        return [one[0] if isinstance(one, tuple) else one for one in made]

    def _read(self, module: Any, name: str) -> dict[str, Any]:
        """The weights of a part of the decoder in fp32, as the settings say that they are
        shaped.
        """
        weights = {
            own: self._shards.whole(f"{self._name}.{name}.{own}")
            for own, _ in module.named_parameters()
        }
        for own, parameter in module.named_parameters():
            if weights[own].shape != parameter.shape:
                raise InputError(
                    f"{self._name}.{name}.{own}: expected {list(parameter.shape)}, not "
                    f"{list(weights[own].shape)}"
                )
        return weights


class Shards:
    """The safetensors files of a folder; tensors are read by name, as fp32.

    A file is mapped for one read only, so what was read before does not count as memory in use.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._folder, self._device = folder, device
        self._file_of: dict[str, Path] = {}
        for file in sorted(folder.glob("*.safetensors")):
            self._file_of.update(dict.fromkeys(_open(file).keys(), file))

    def whole(self, name: str) -> Any:
        """One tensor."""
        return self._float(self._shard(name).get_tensor(name))

    def some(self, name: str, rows: Sequence[int]) -> Any:
        """Some rows of a matrix, in this order."""
        import torch

        return self._float(self._shard(name).get_tensor(name)[torch.tensor(rows)])

    def rows(self, name: str) -> Iterator[Any]:
        """All rows of a matrix in order, ROWS at a time."""
        total = self._shard(name).get_slice(name).get_shape()[0]
        for begin in range(0, total, ROWS):
            yield self._float(self._shard(name).get_slice(name)[begin : begin + ROWS])

    def _shard(self, name: str) -> Any:
        if name not in self._file_of:
            raise InputError(f"{self._folder}: {name}: expected in a safetensors file")
        return _open(self._file_of[name])

    def _float(self, tensor: Any) -> Any:
        return tensor.to(self._device).float()


def _open(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: expected a whole safetensors file ({error})") from error


def _empty(folder: Path) -> Any:
    """The model of a folder's settings: its parameters have shapes and no memory, its buffers are
    real.
    """
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder)
        with init_empty_weights(include_buffers=False):
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder}/config.json: expected a causal language model's settings ({error})"
        ) from error


def _replace_layers(decoder: Any, calls: list[dict[str, Any]], device: str) -> None:
    """Let the decoder's own forward run over layers that only write down how they are called."""
    import torch

    class Recorder(torch.nn.Module):  # type: ignore[misc]
        """Defined here because its base class comes with torch."""

        def forward(self, state: Any, **more: Any) -> Any:
            calls.append(more)
            return state

    decoder.layers = torch.nn.ModuleList([Recorder()] * len(decoder.layers))
    decoder.norm = torch.nn.Identity()
    for child in decoder.children():
        if not list(child.parameters()):  # the rotary embedding; nothing else of it has memory
            child.to(device)


def _attach(model: Any, adapter: Path, device: str) -> None:
    """Let each layer that an adapter names add scale * B A x to what it returns."""
    from safetensors.torch import load_file

    config = read_json(adapter / "adapter_config.json")
    if any(
        config.get(field)
        for field in ("use_rslora", "use_dora", "modules_to_save", "alpha_pattern", "rank_pattern")
    ):
        raise InputError(f"{adapter}: expected a plain LoRA adapter")
    parts: dict[str, dict[str, Any]] = {}
    for name, value in load_file(adapter / "adapter_model.safetensors").items():
        module, part, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
        parts.setdefault(module, {})[part] = value.to(device).float()
    modules = dict(model.named_modules())
    for module, pair in parts.items():
        if ".layers." not in module or module not in modules:
            raise InputError(f"{adapter}: {module}: expected a decoder layer of the base")
        modules[module].register_forward_hook(_adding(pair, config["lora_alpha"] / config["r"]))


def _adding(pair: dict[str, Any], scale: float) -> Any:
    def add(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        return output + scale * (inputs[0] @ pair["lora_A"].T @ pair["lora_B"].T)

    return add
