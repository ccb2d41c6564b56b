"""The decoder: all conversations of a process with one model of llama.cpp, decoded together.

Whoever asks waits; one thread mixes the prompts and the next tokens of all requests into batches,
so that the weights are read once for all of them. A sequence of the KV cache keeps what it has
evaluated: a request that begins alike, as the next turn of a conversation does, pays for what is
new. One that shares its beginning with another conversation copies that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from typing import Any

import llama_cpp

from cbt_ray.count import many
from cbt_ray.errors import Infrastructure

BATCH = 512
"""Tokens that are evaluated together, at most."""
WORTH_COPYING = 32
"""Tokens of a shared beginning below which to evaluate it costs no more than to copy it."""
CLOSED = "llama.cpp: the model is closed"


@dataclass(eq=False)
class Drawing:
    """A request: its prompt, how to draw from it, and what was drawn."""

    prompt: list[int]
    most: int
    """Tokens that may be drawn."""
    sampler: Any
    """Of llama.cpp; one for each request, since it counts what was drawn."""
    drawn: list[int] = field(default_factory=list)
    stopped: bool = False
    """Whether the model ended by itself."""
    fault: Exception | None = None
    done: Event = field(default_factory=Event)


@dataclass
class _Kept:
    """A sequence of the cache: what it holds, and the request it is at work for."""

    number: int
    tokens: list[int] = field(default_factory=list)
    wants: deque[int] = field(default_factory=deque)
    """What it has to evaluate before it can draw."""
    drawing: Drawing | None = None
    used: int = 0
    """The round in which it was last at work."""
    row: int | None = None
    """Where in the batch the next token is drawn from."""


class Decoder:
    """The sequences of one model, decoded by a thread as long as somebody asks.

    `parallel` requests are at work at once; twice as many sequences are kept, since a conversation
    has two sides. Each has room for `context` tokens, whatever the others hold.
    """

    def __init__(self, llama: Any, context: int, threads: int, parallel: int) -> None:
        self._vocabulary = llama._model.vocab
        self._parallel = parallel
        self._kept = [_Kept(number) for number in range(2 * parallel)]
        self.ctx = _context(llama, context, threads, len(self._kept))
        self._memory = llama_cpp.llama_get_memory(self.ctx)
        self._batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self._waiting: deque[Drawing] = deque()
        self._round = self.evaluated = 0
        self._changed = Condition()
        self._closed = False
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def draw(self, drawing: Drawing) -> None:
        """Draw all tokens of a request; raises what went wrong."""
        with self._changed:
            if self._closed:
                raise Infrastructure(CLOSED, "server")
            self._waiting.append(drawing)
            self._changed.notify()
        drawing.done.wait()
        if drawing.fault is not None:
            raise drawing.fault

    def close(self) -> None:
        """End the thread and free the memory; the calls of those who still wait fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self.ctx)

    # ---- in the thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        while self._take():
            at_work = [one for one in self._kept if one.drawing is not None]
            try:
                self._evaluate(at_work)
                self._draw(at_work)
            except Exception as error:  # it fails each of them, and what follows begins anew
                for one in at_work:
                    self._cut(one, 0)
                    self._end(one, error)
        closed = Infrastructure(CLOSED, "server")
        for drawing in [*(one.drawing for one in self._kept), *self._waiting]:
            if drawing is not None:
                drawing.fault = closed
                drawing.done.set()

    def _take(self) -> bool:
        """Give requests that wait a sequence each; waits where there is nothing to do.

        False when closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or self._at_work())
            waiting, closed = list(self._waiting), self._closed
        for drawing in waiting:
            if self._at_work() < self._parallel and not self._is_coming(drawing):
                self._waiting.remove(drawing)
                self._begin(drawing)
        return not closed

    def _is_coming(self, drawing: Drawing) -> bool:
        """Whether the beginning of a prompt is being evaluated for another one: it waits for that,
        and copies it.
        """
        coming = [
            _common([*one.tokens, *one.wants], drawing.prompt)
            for one in self._kept
            if len(one.wants) > 1
        ]
        there = max(_common(one.tokens, drawing.prompt) for one in self._kept)
        return max(coming, default=0) - there >= WORTH_COPYING

    def _at_work(self) -> int:
        return sum(one.drawing is not None for one in self._kept)

    def _begin(self, drawing: Drawing) -> None:
        """Find the sequence that holds the conversation, else take the one that waited longest and
        copy what another one has of the beginning.
        """
        prompt = drawing.prompt
        alike = {one.number: _common(one.tokens, prompt) for one in self._kept}
        free = [one for one in self._kept if one.drawing is None]
        one = max(free, key=lambda it: alike[it.number])
        best = max(self._kept, key=lambda it: alike[it.number])
        if 2 * alike[one.number] < len(one.tokens):  # it holds another conversation
            one = min(free, key=lambda it: it.used)
        if alike[best.number] - alike[one.number] >= WORTH_COPYING:
            self._copy(best, one)
            alike[one.number] = alike[best.number]
        # The last token is evaluated in any case: the next one is drawn from it.
        self._cut(one, min(alike[one.number], len(prompt) - 1))
        one.wants = deque(prompt[len(one.tokens) :])
        one.drawing = drawing

    def _copy(self, source: _Kept, to: _Kept) -> None:
        self._cut(to, 0)
        llama_cpp.llama_memory_seq_cp(self._memory, source.number, to.number, -1, -1)
        to.tokens = list(source.tokens)

    def _cut(self, one: _Kept, most: int) -> None:
        """Keep the first tokens of a sequence: all of so many that the model can be cut at."""
        if most < len(one.tokens):
            if not llama_cpp.llama_memory_seq_rm(self._memory, one.number, most, -1):
                llama_cpp.llama_memory_seq_rm(self._memory, one.number, -1, -1)
                most = 0
            del one.tokens[most:]

    def _evaluate(self, at_work: Sequence[_Kept]) -> None:
        """Evaluate a batch: the one token of each that draws, and of prompts what has room."""
        batch, size = self._batch, 0
        self._round += 1
        for one in sorted(at_work, key=lambda it: len(it.wants)):
            many = min(len(one.wants), BATCH - size)
            for place in range(size, size + many):
                batch.token[place] = token = one.wants.popleft()
                batch.pos[place] = len(one.tokens)
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, one.number
                batch.logits[place] = not one.wants
                one.tokens.append(token)
            size += many
            one.row = None if one.wants else size - 1
            one.used = self._round
        batch.n_tokens = size
        self.evaluated += size
        code = llama_cpp.llama_decode(self.ctx, batch)
        if code:
            raise Infrastructure(f"llama.cpp: llama_decode answers {code}", "server")

    def _draw(self, at_work: Sequence[_Kept]) -> None:
        for one in at_work:
            drawing = one.drawing
            if drawing is None or one.row is None:
                continue
            token = int(drawing.sampler.sample(self, one.row))
            drawing.stopped = bool(llama_cpp.llama_vocab_is_eog(self._vocabulary, token))
            if not drawing.stopped:
                drawing.drawn.append(token)
                one.wants.append(token)
            if drawing.stopped or len(drawing.drawn) >= drawing.most:
                self._end(one, None)

    def _end(self, one: _Kept, fault: Exception | None) -> None:
        drawing, one.drawing = one.drawing, None
        one.wants.clear()
        if drawing is not None:
            drawing.fault = fault
            drawing.done.set()


def _context(llama: Any, context: int, threads: int, sequences: int) -> Any:
    """A context of llama.cpp for so many sequences of so many tokens."""
    settings = type(llama.context_params).from_buffer_copy(llama.context_params)
    settings.n_ctx, settings.n_seq_max = context * sequences, sequences
    settings.n_batch = settings.n_ubatch = BATCH
    settings.n_threads = settings.n_threads_batch = threads
    settings.kv_unified = False  # attention looks at a sequence's own cells, not at all of them
    made = llama_cpp.llama_init_from_model(llama._model.model, settings)
    if not made:
        raise Infrastructure(
            f"llama.cpp: no memory for {many(sequences, 'sequence')} of {many(context, 'token')}",
            "server",
        )
    return made


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # comparing slices is quick, and a loop over tokens is not
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
