"""What a GGUF says in llama.cpp: its template, special ids and tokens, the tokens it likes best,
its answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from cbt_ray.errors import InputError
from cbt_ray.llm.build import bindings
from cbt_ray.llm.control import Written
from cbt_ray.llm.llamacpp import template_of, tokenized
from cbt_ray.llm.request import Message
from cbt_ray.training.mask import encoded, plain
from cbt_ray.training.start.base import Base

LIMIT = 160
"""Tokens within which a therapist's turn has to end, where the dataset's own turns are not longer.
"""
GREEDY = 8
"""Tokens that are continued greedily after each prompt."""


@dataclass(frozen=True)
class Asked:
    """A prompt as training knows it: its messages (None of a plain text), its text in pieces and
    its token ids.
    """

    messages: tuple[Message, ...] | None
    written: Written
    ids: list[int]

    @property
    def text(self) -> str:
        """All of its text."""
        return self.written.text

    @classmethod
    def of(cls, prompt: Sequence[Message] | str, base: Base) -> Asked:
        """Rendered and tokenized as in training."""
        if isinstance(prompt, str):
            messages, written = None, plain(prompt, base.tokenizer)
        else:
            messages = tuple(prompt)
            written = base.template.written(messages, base.tokenizer.control, answer=True)
        return cls(messages, written, encoded(written, base.tokenizer)[0])


@dataclass(frozen=True)
class Spoken:
    """Tokens after a prompt, and the logits [tokens, vocabulary] that led to each of them."""

    tokens: list[int]
    logits: Any


@dataclass(frozen=True)
class Answer:
    """One sampled answer without its end, and the token that ended it (None: it was cut at the
    limit).
    """

    tokens: list[int]
    text: str
    end: int | None


@dataclass
class Heard:
    """All that was heard of one GGUF; `error` says where llama.cpp gave up evaluating it."""

    source: str | None
    rendered: list[str | None]
    tokens: list[list[int]]
    special: dict[str, int | bool | None]
    spoken: list[Spoken] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    error: str = ""


def hear(
    gguf: Path,
    base: Base,
    asked: Sequence[Asked],
    threads: int,
    *,
    spoken: int,
    answers: set[int],
    follow: list[list[int]] | None,
    limit: int,
) -> Heard:
    """Listen to a GGUF: the first `spoken` prompts are continued, greedily or by the tokens of
    `follow`, and some answered.

    An answer is cut after `limit` tokens. Raises InputError where llama.cpp does not load it.
    """
    with _loaded(gguf, threads, n_ctx=max(len(one.ids) for one in asked) + limit) as llama:
        heard = _look(llama, gguf, base, asked)
        try:
            for number, prompt in enumerate(asked[:spoken]):
                heard.spoken.append(
                    _continue(llama, prompt.ids, None if follow is None else follow[number])
                )
                if number in answers:
                    heard.answers.append(_answer(llama, prompt.ids, number, limit))
        except (
            RuntimeError
        ) as error:  # llama_decode refuses: a token that its vocabulary lacks, for one
            heard.error = str(error)
    return heard


def look(gguf: Path, base: Base, asked: Sequence[Asked], threads: int) -> Heard:
    """What a GGUF of a vocabulary alone says: nothing is evaluated.

    Raises InputError where llama.cpp does not load it.
    """
    with _loaded(gguf, threads, vocab_only=True) as llama:
        return _look(llama, gguf, base, asked)


@contextlib.contextmanager
def _loaded(gguf: Path, threads: int, **settings: int) -> Iterator[Any]:
    llama_cpp = bindings()
    try:
        llama = llama_cpp.Llama(
            str(gguf), n_threads=threads, n_threads_batch=threads, verbose=False, **settings
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{gguf}: expected a GGUF that llama.cpp loads ({str(error).splitlines()[0]})"
        ) from error
    try:
        yield llama
    finally:
        llama.close()


def _look(llama: Any, gguf: Path, base: Base, asked: Sequence[Asked]) -> Heard:
    """What takes no evaluation.

    The texts that are tokenized are those of training, so one fault shows in one place.
    """
    tokens = [tokenized(llama, one.written) for one in asked]
    source = llama.metadata.get("tokenizer.chat_template")
    return Heard(
        source, [_rendered(llama, gguf, base, one) for one in asked], tokens, _special(llama, base)
    )


def _rendered(llama: Any, gguf: Path, base: Base, asked: Asked) -> str | None:
    """The prompt as it is served; None where the GGUF has no template or one that refuses."""
    if asked.messages is None:
        return asked.text
    try:
        return template_of(llama, gguf, base.template.today).render(asked.messages, answer=True)
    except (InputError, TemplateError):
        return None


def _special(llama: Any, base: Base) -> dict[str, int | bool | None]:
    """llama.cpp has ids of its own where the file states none, so what is stated is told apart."""
    import llama_cpp

    stated, pad = (
        llama.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "padding")
    )
    return {
        "bos": llama.token_bos(),
        "eos": llama.token_eos(),
        "eos_stated": None if stated is None else int(stated),
        "eos_ends": bool(llama_cpp.llama_vocab_is_eog(llama._model.vocab, base.end_id)),
        "pad": None if pad is None else int(pad),
    }


def _continue(llama: Any, prompt: list[int], follow: list[int] | None) -> Spoken:
    """The best token each time, to the end of the answer or GREEDY tokens.

    Or the tokens that another model said.
    """
    import llama_cpp
    import numpy

    kept = _common(llama, prompt)
    llama.n_tokens = kept  # `eval` drops what is cached after it
    llama.eval(prompt[kept:])
    tokens: list[int] = []
    logits = []
    while len(tokens) < (GREEDY if follow is None else len(follow)):
        if tokens:
            llama.eval(tokens[-1:])
        pointer = llama_cpp.llama_get_logits_ith(llama._ctx.ctx, -1)
        logits.append(numpy.array(numpy.ctypeslib.as_array(pointer, shape=(llama.n_vocab(),))))
        tokens.append(int(logits[-1].argmax()) if follow is None else follow[len(tokens)])
        if follow is None and llama_cpp.llama_vocab_is_eog(llama._model.vocab, tokens[-1]):
            break
    return Spoken(tokens, numpy.stack(logits))


def _common(llama: Any, prompt: list[int]) -> int:
    """How many tokens of the prompt are evaluated already.

    Its last one is left to do, for its logits.
    """
    cached = llama.input_ids[: llama.n_tokens].tolist()
    same = 0
    while same < min(len(cached), len(prompt) - 1) and cached[same] == prompt[same]:
        same += 1
    return same


def _answer(llama: Any, prompt: list[int], seed: int, limit: int) -> Answer:
    import llama_cpp

    made: list[int] = []
    end = None
    llama.set_seed(seed)
    for token in llama.generate(prompt, temp=0.7, top_p=0.95, top_k=40, repeat_penalty=1.1):
        if llama_cpp.llama_vocab_is_eog(llama._model.vocab, token):
            end = int(token)
            break
        made.append(int(token))
        if len(made) == limit:
            break
    return Answer(made, llama.detokenize(made, special=True).decode(errors="replace"), end)
