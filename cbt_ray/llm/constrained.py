"""Grammar-constrained sampling that asks the grammar about one token first, and about all of them
only when that one is refused.

llama-cpp-python puts the grammar in front of the sampler chain, where it judges the whole
vocabulary for every token. What llama.cpp's own programs do gives the same valid text twice as
fast: draw a token freely, keep it if the grammar accepts it, else draw again from what the grammar
allows. It stands in for llama_cpp's sampler and is used through `sample` alone.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

_TOKEN = np.dtype([("id", np.intc), ("logit", np.single), ("p", np.single)], align=True)
_REFUSED = np.float32(-np.inf)


class GrammarSampler:
    """A sampler chain with a grammar beside it."""

    def __init__(self, llama: Any, chain: Any, grammar: Any) -> None:
        self._chain = chain
        self._size = llama.n_vocab()
        self._vocabulary: NDArray[Any] = np.zeros(self._size, dtype=_TOKEN)
        text, root = grammar._grammar.encode(), grammar._root.encode()
        self._grammar = llama_cpp.llama_sampler_init_grammar(llama._model.vocab, text, root)
        if not self._grammar:
            raise ValueError("llama.cpp cannot parse the schema's grammar")

    def sample(self, context: Any, index: int) -> int:
        """Draw the next token and tell chain and grammar."""
        logits = np.ctypeslib.as_array(
            llama_cpp.llama_get_logits_ith(context.ctx, index), shape=(self._size,)
        )
        token = self._draw(logits, constrained=False)
        if not self._accepts(token):
            token = self._draw(logits, constrained=True)
        llama_cpp.llama_sampler_accept(self._grammar, token)
        llama_cpp.llama_sampler_accept(self._chain.sampler, token)
        return token

    def _draw(self, logits: NDArray[Any], *, constrained: bool) -> int:
        tokens = self._vocabulary
        tokens["id"] = np.arange(self._size, dtype=np.intc)  # samplers sort in place
        tokens["logit"] = logits
        view = _view(tokens)
        if constrained:
            llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(view))
        llama_cpp.llama_sampler_apply(self._chain.sampler, ctypes.byref(view))
        return int(view.data[view.selected].id)

    def _accepts(self, token: int) -> bool:
        one: NDArray[Any] = np.array([(token, 1.0, 0.0)], dtype=_TOKEN)
        llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(_view(one)))
        return bool(one["logit"][0] != _REFUSED)

    def close(self) -> None:
        """Free the grammar."""
        if self._grammar:
            llama_cpp.llama_sampler_free(self._grammar)
            self._grammar = None

    def __del__(self) -> None:
        self.close()


def attach(llama: Any) -> None:
    """Have a Llama use this sampler whenever a call brings a grammar."""
    plain = llama._init_sampler

    def init_sampler(grammar: Any = None, **sampling: Any) -> Any:
        chain = plain(**sampling)
        return chain if grammar is None else GrammarSampler(llama, chain, grammar)

    llama._init_sampler = init_sampler


def _view(tokens: NDArray[Any]) -> Any:
    data = tokens.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
    return llama_cpp.llama_token_data_array(data=data, size=len(tokens), selected=-1, sorted=False)
