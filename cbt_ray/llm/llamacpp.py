"""A GGUF in this process, by llama.cpp: one conversation after the other, or many at once by a
`decoder`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from cbt_ray.count import many
from cbt_ray.errors import Infrastructure, InputError, ModelFailure
from cbt_ray.llm.build import best_build, bindings, check_gpu
from cbt_ray.llm.control import Control, Written
from cbt_ray.llm.gguf_file import check_gguf, gguf_identity, load_gguf_path
from cbt_ray.llm.reasoning import opening
from cbt_ray.llm.request import Finish, Message, Reply, Request
from cbt_ray.llm.template import ChatTemplate, WordsLost
from cbt_ray.study.study import TODAY

if TYPE_CHECKING:
    from cbt_ray.llm.decoder import Decoder

LONGEST_COUNTED = 1000
"""Longest string whose length a grammar counts: llama.cpp refuses a grammar with more than 2000
repetitions."""
_TAIL = 24
"""Tokens at a prompt's end in which a template may open the reasoning."""

NO_TOP_K = 0
"""The study file has no top-k, and endpoints of litellm have none either."""
SMALLEST_CONTEXT = 256
"""Of an instance that holds the weights and answers nothing by itself."""

__all__ = ["LlamaCppModel", "check_gguf", "gguf_identity", "load_gguf_path"]


@dataclass(frozen=True)
class _Drawn:
    """What a model said, and whether it ended by itself."""

    text: str
    tokens: int
    stopped: bool


class LlamaCppModel:
    """A model held in memory; safe for threads.

    With `parallel` 1 its last conversation stays evaluated, and requests take turns. Above 1 so
    many are answered at once, out of one context that keeps twice as many conversations.

    The weights are mapped from the file, so several instances of one file share them.
    """

    def __init__(
        self,
        gguf: Path,
        *,
        context: int = 8192,
        threads: int = 1,
        parallel: int = 1,
        gpu_layers: int = 0,
        today: str = TODAY.isoformat(),
    ) -> None:
        self.gguf = check_gguf(gguf)
        self.context = context
        self._build = str(best_build())
        check_gpu(gpu_layers)
        context_of_one = context if parallel == 1 else SMALLEST_CONTEXT
        self._llama = _load(gguf, context_of_one, threads, gpu_layers)
        self.template = template_of(self._llama, gguf, today)
        try:
            self.template.try_out()
        except TemplateError as error:
            raise InputError(
                f"gguf: {gguf}: chat_template: refuses a conversation ({error})"
            ) from error
        self._control = control_of(self._llama)
        self._one_at_a_time = Lock()
        self._closed = False
        self._decoder: Decoder | None = None
        if parallel > 1:
            from cbt_ray.llm.decoder import Decoder

            self._decoder = Decoder(self._llama, context, threads, parallel)

    def tokenize(self, messages: tuple[Message, ...], *, answer: bool = True) -> list[int]:
        """The prompt's tokens, exactly as the template writes them: no BOS is added to the
        template's own.

        What reads like a control token in the words of a message is plain text. A template that
        leaves out the words of this conversation, though not of every one, is a ModelFailure
        (`words_lost`).
        """
        try:
            written = self.template.written(messages, self._control, answer=answer)
        except WordsLost as error:
            raise ModelFailure("words_lost", str(error)) from error
        except TemplateError as error:
            raise InputError(
                f"gguf: {self.gguf}: its chat template refuses the conversation ({error})"
            ) from error
        return tokenized(self._llama, written)

    def complete(self, request: Request) -> Reply:
        """Answer.

        A prompt that leaves no room in the context is a ModelFailure (`context_full`).
        """
        if self._closed:
            raise Infrastructure(f"llama.cpp: {self.gguf.name} is closed", "server")
        prompt = self.tokenize(request.messages)
        if len(prompt) >= self.context:
            raise ModelFailure(
                "context_full",
                f"the prompt has {many(len(prompt), 'token')}, the context {self.context}",
            )
        drawn = (
            self._alone(prompt, request)
            if self._decoder is None
            else self._beside(self._decoder, prompt, request)
        )
        text = self._opened(prompt, request) + drawn.text
        finish = Finish.STOP if drawn.stopped else Finish.LENGTH
        said = (text, finish, len(prompt), drawn.tokens, self.gguf.name)
        return Reply(*said, cost=0.0, llama_cpp=self._build)

    def _opened(self, prompt: list[int], request: Request) -> str:
        """The mark of reasoning with which the template ends a prompt, which no reply repeats.

        JSON begins without it.
        """
        if request.schema is not None:
            return ""
        return opening(
            self._llama.detokenize(prompt[-_TAIL:], special=True).decode(errors="replace")
        )

    def _alone(self, prompt: list[int], request: Request) -> _Drawn:
        sampling = request.sampling
        with self._one_at_a_time:
            try:
                answer: dict[str, Any] = self._llama.create_completion(
                    prompt,
                    max_tokens=sampling.max_tokens,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    min_p=sampling.min_p,
                    top_k=NO_TOP_K,
                    repeat_penalty=sampling.repeat_penalty,
                    seed=request.seed,
                    grammar=_grammar_of(request),
                )
            except RuntimeError as error:  # llama_decode failed: memory, a broken build
                self._llama.reset()
                raise Infrastructure(f"llama.cpp: {error}", "server") from error
        choice = answer["choices"][0]
        stopped = choice["finish_reason"] == "stop"
        return _Drawn(choice["text"], answer["usage"]["completion_tokens"], stopped)

    def _beside(self, decoder: Decoder, prompt: list[int], request: Request) -> _Drawn:
        from cbt_ray.llm.decoder import Drawing

        most = min(request.sampling.max_tokens, self.context - len(prompt))
        drawing = Drawing(prompt, most, self._sampler(request))
        decoder.draw(drawing)
        text = self._llama.detokenize(drawing.drawn, prev_tokens=prompt)
        return _Drawn(text.decode(errors="ignore"), len(drawing.drawn), drawing.stopped)

    def _sampler(self, request: Request) -> Any:
        """The chain of samplers that llama_cpp makes for such a request."""
        sampling = request.sampling
        with self._one_at_a_time:
            self._llama.set_seed(request.seed)
            return self._llama._init_sampler(
                temp=sampling.temperature,
                top_p=sampling.top_p,
                min_p=sampling.min_p,
                top_k=NO_TOP_K,
                repeat_penalty=sampling.repeat_penalty,
                grammar=_grammar_of(request),
            )

    def close(self) -> None:
        """Free the memory now and not when Python finds the time."""
        self._closed = True
        if self._decoder is not None:
            self._decoder.close()
        self._llama._sampler = None
        self._llama.close()


def load_vocabulary(gguf: Path) -> Any:
    """llama.cpp's tokenizer of a GGUF, without its weights.

    Raises InputError where the file is none that it can load.
    """
    return _opened(check_gguf(gguf), vocab_only=True)


def adds_bos(gguf: Path) -> bool:
    """Whether the tokenizer of a GGUF puts BOS in front of a text of its own accord."""
    vocabulary = load_vocabulary(gguf)
    adds = bool(vocabulary._model.add_bos_token())
    vocabulary.close()
    return adds


def _load(gguf: Path, context: int, threads: int, gpu_layers: int) -> Any:
    from cbt_ray.llm.constrained import attach

    llama = _opened(
        gguf,
        n_ctx=context,
        n_threads=threads,
        n_threads_batch=threads,
        n_gpu_layers=gpu_layers,
    )
    attach(llama)
    return llama


def _opened(gguf: Path, **settings: Any) -> Any:
    llama_cpp = bindings()
    try:
        return llama_cpp.Llama(str(gguf), verbose=False, chat_format="chatml", **settings)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"gguf: {gguf}: expected a model that llama.cpp can load ({str(error).splitlines()[0]})"
        ) from error


def tokenized(llama: Any, written: Written) -> list[int]:
    """A prompt's tokens; those of a piece of plain text hold no control token."""
    pieces = written.pieces
    return [
        id_
        for one in pieces
        for id_ in llama.tokenize(one.text.encode(), add_bos=False, special=one.control)
    ]


def control_of(llama: Any) -> Control:
    """The control tokens of a loaded model."""
    import llama_cpp

    vocabulary, control = (
        llama._model.vocab,
        llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN,
    )
    ids = [
        one
        for one in range(llama.n_vocab())
        if llama_cpp.llama_vocab_get_attr(vocabulary, one) & control
    ]
    return Control(
        llama_cpp.llama_vocab_get_text(vocabulary, one).decode(errors="replace") for one in ids
    )


def template_of(llama: Any, gguf: Path, today: str = TODAY.isoformat()) -> ChatTemplate:
    """The chat template that a loaded GGUF states, with the texts of its own special tokens."""
    source = llama.metadata.get("tokenizer.chat_template")
    if source is None:
        raise InputError(f"gguf: {gguf}: expected a model with a chat template (an instruct model)")
    return ChatTemplate(
        source, _text(llama, llama.token_bos()), _text(llama, llama.token_eos()), today=today
    )


def _text(llama: Any, token: int) -> str:
    return (
        "" if token < 0 else str(llama.detokenize([token], special=True).decode(errors="replace"))
    )


def _grammar_of(request: Request) -> Any:
    """The grammar of a request's schema; none where it has none."""
    return None if request.schema is None else _grammar(json.dumps(_countable(request.schema)))


@lru_cache(64)
def _grammar(schema: str) -> Any:
    """The schema as a grammar.

    Its text, not its sorted form, is the key: the order of properties is the order of the answer.
    """
    from llama_cpp import LlamaGrammar
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    # Its rule of a character lets a bare line break into a string, which JSON does not.
    grammar = json_schema_to_gbnf(schema).replace(
        r'char ::= [^"\\] |', r'char ::= [^"\\\x00-\x1F] |'
    )
    return LlamaGrammar.from_string(grammar, verbose=False)


def _countable(schema: Any) -> Any:
    """The schema without lengths that llama.cpp's grammars cannot count.

    The protocol checks lengths when it reads the answer.
    """
    if isinstance(schema, Mapping):
        kept = {name: _countable(value) for name, value in schema.items()}
        if isinstance(kept.get("maxLength"), int) and kept["maxLength"] > LONGEST_COUNTED:
            del kept["maxLength"]
        if isinstance(kept.get("minLength"), int):
            kept["minLength"] = min(kept["minLength"], LONGEST_COUNTED)
        if isinstance(kept.get("pattern"), str):
            kept["pattern"] = re.sub(r"\{(\d+),(\d+)\}", _countable_range, kept["pattern"])
        return kept
    return [_countable(value) for value in schema] if isinstance(schema, list) else schema


def _countable_range(found: re.Match[str]) -> str:
    low, high = int(found[1]), int(found[2])
    return f"{{{min(low, LONGEST_COUNTED)},{high if high <= LONGEST_COUNTED else ''}}}"
