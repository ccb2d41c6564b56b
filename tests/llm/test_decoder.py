"""Many conversations with the embedded model at once: each answer is that of a model of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import llama_cpp
import pytest

from cbt_ray.errors import Infrastructure
from cbt_ray.llm.decoder import BATCH, Decoder
from cbt_ray.llm.llamacpp import LlamaCppModel
from cbt_ray.llm.request import Message, Request
from cbt_ray.study.endpoint import Sampling

from .conftest import ask, turns

pytestmark = [pytest.mark.llama, pytest.mark.slow]
PARALLEL, SEQUENCES = 2, 4
GREEDY = Sampling(max_tokens=4, temperature=0)
"""Further on, rounding may differ between a batch and a prompt on its own."""
LONG = "You are a patient who sleeps badly, has given up the choir and misses it. " * 30


@pytest.fixture
def model(embedded_file: Path) -> Iterator[LlamaCppModel]:
    it = LlamaCppModel(embedded_file, context=1024, parallel=PARALLEL)
    yield it
    it.close()


def decoder_of(model: LlamaCppModel) -> Decoder:
    assert model._decoder is not None
    return model._decoder


def evaluating(model: LlamaCppModel, request: Request) -> int:
    """How many tokens a request has the model evaluate."""
    before = decoder_of(model).evaluated
    model.complete(request)
    return decoder_of(model).evaluated - before


WORDS = ("river", "garden", "winter", "letter", "piano", "bread", "candle", "mirror")


def conversation(model: LlamaCppModel, word: str) -> list[str]:
    """What a model takes for the word that it was told, asked twice."""
    words = {"type": "object", "properties": {"word": {"enum": list(WORDS)}}, "required": ["word"]}
    said, history = list[str](), [Message("system", "Answer with the word that you are told.")]
    for line in (f"The word is {word}. {word}, {word}, {word}. Which word?", "Once more: which?"):
        history.append(Message("user", line))
        sampling = Sampling(max_tokens=20, temperature=0)
        said.append(model.complete(Request(tuple(history), sampling, 1, words)).text)
        history.append(Message("assistant", said[-1]))
    return [json.loads(text)["word"] for text in said]


def test_more_conversations_than_sequences_are_not_mixed_up(
    model: LlamaCppModel, embedded_file: Path
) -> None:
    alone = LlamaCppModel(embedded_file, context=1024)
    assert [conversation(alone, word) for word in WORDS] == [[word, word] for word in WORDS]
    alone.close()
    for _ in range(2):
        with ThreadPoolExecutor(len(WORDS)) as pool:
            beside = list(pool.map(lambda word: conversation(model, word), WORDS))
        assert beside == [[word, word] for word in WORDS]


def test_a_conversation_pays_for_what_is_new_as_long_as_its_sequence_is_kept(
    model: LlamaCppModel,
) -> None:
    history = [Message("system", LONG), Message("user", "How was your week?")]
    first = Request(tuple(history), GREEDY, 1)
    assert evaluating(model, first) > 300
    more = [Message("assistant", model.complete(first).text), Message("user", "Tell me more.")]
    second = Request((*history, *more), GREEDY, 1)
    assert evaluating(model, second) < 60
    for number in range(SEQUENCES):
        model.complete(ask(f"{number} is a number of which I have nothing to tell. " * 20))
    assert evaluating(model, second) > 300, "others took its sequence"


def test_the_longest_unused_sequence_is_taken(model: LlamaCppModel) -> None:
    kept = [ask(f"{word} " * 200, max_tokens=1) for word in ("one", "two", "three", "four")]
    for request in kept:
        model.complete(request)
    model.complete(kept[0])
    model.complete(ask("five " * 200, max_tokens=1))
    assert evaluating(model, kept[0]) < 20
    assert evaluating(model, kept[1]) > 200, "it waited longest"


def test_a_shared_beginning_is_copied_from_a_conversation_that_goes_on(
    model: LlamaCppModel,
) -> None:
    def asked(line: str) -> Request:
        return Request((Message("system", LONG), Message("user", line)), GREEDY, 1)

    assert evaluating(model, asked("How was your week?")) > 300
    assert evaluating(model, asked("Did you sing?")) < 60, "half of it and more is alike"
    other = [decoder_of(model)._kept[n].tokens for n in range(SEQUENCES)]
    assert sum(len(tokens) > 300 for tokens in other) == 1
    model.complete(ask("one " * 500, max_tokens=1))
    short = Request((Message("system", LONG[: len(LONG) // 3]), Message("user", "Hm?")), GREEDY, 1)
    assert evaluating(model, short) < 60
    held = [decoder_of(model)._kept[n].tokens for n in range(SEQUENCES)]
    assert sum(len(tokens) > 300 for tokens in held) >= 2, "the longer one keeps what it has"


def test_what_two_ask_for_at_the_same_moment_is_evaluated_once(
    model: LlamaCppModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decoder_of(model)
    plain = decoder._evaluate

    def evaluate(at_work: Sequence[object]) -> None:
        if not decoder.evaluated:  # before the first batch of two, both are here
            until(lambda: decoder._at_work() + len(decoder._waiting) == 2)
        plain(at_work)

    monkeypatch.setattr(decoder, "_evaluate", evaluate)
    requests = [
        Request((Message("system", LONG + LONG[:900]), Message("user", line)), GREEDY, 1)
        for line in ("How was your week?", "Did you sing?")
    ]
    alone = len(model.tokenize(requests[0].messages))
    assert alone > BATCH
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(model.complete, requests))
    assert decoder.evaluated < 1.1 * alone


def test_a_long_prompt_and_short_ones_are_mixed(model: LlamaCppModel, embedded_file: Path) -> None:
    requests = [
        Request((Message("user", text),), GREEDY, 1)
        for text in (LONG + LONG[:900], "Say hello.", "Say goodbye.", LONG)
    ]
    with ThreadPoolExecutor(4) as pool:
        beside = [reply.text for reply in pool.map(model.complete, requests)]
    alone = LlamaCppModel(embedded_file, context=1024)
    assert beside == [alone.complete(request).text for request in requests]
    alone.close()


def test_schema_and_seed_belong_to_each_request(model: LlamaCppModel) -> None:
    schema = turns(2, minLength=5, maxLength=60)
    bound = [ask(seed=seed, schema=schema, max_tokens=120, temperature=1) for seed in range(3)]
    free = [ask(seed=seed, max_tokens=40, temperature=1) for seed in range(3)]
    with ThreadPoolExecutor(6) as pool:
        texts = [reply.text for reply in pool.map(model.complete, [*bound, *free])]
    assert all(len(json.loads(text)) == 2 for text in texts[:3])
    assert len(set(texts)) == 6
    assert model.complete(free[1]).text == model.complete(free[1]).text


def test_it_says_when_it_was_cut_and_fills_a_context_to_its_end(model: LlamaCppModel) -> None:
    reply = model.complete(ask("sea " * 900, max_tokens=500, temperature=1))
    assert reply.finish == "length"
    assert reply.prompt_tokens + reply.reply_tokens == 1024


def test_a_failed_batch_is_told_to_all_and_the_next_is_whole(
    model: LlamaCppModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = model.complete(ask(max_tokens=4, temperature=0)).text
    plain = llama_cpp.llama_decode
    monkeypatch.setattr(llama_cpp, "llama_decode", lambda *_: 1)
    with pytest.raises(Infrastructure, match="llama_decode answers 1"):
        model.complete(ask("Something else.", max_tokens=4))
    monkeypatch.setattr(llama_cpp, "llama_decode", plain)
    assert model.complete(ask(max_tokens=4, temperature=0)).text == right


def test_whoever_waits_is_told_that_the_model_is_closed(embedded_file: Path) -> None:
    model = LlamaCppModel(embedded_file, context=1024, parallel=PARALLEL)
    told = list[str]()

    def wait(number: int) -> None:
        try:
            model.complete(ask(f"Tell me story {number}.", max_tokens=900, temperature=1))
        except Infrastructure as error:
            told.append(str(error))

    waiting = [threading.Thread(target=wait, args=(number,)) for number in range(2 * PARALLEL)]
    for one in waiting:
        one.start()
    until(lambda: len(decoder_of(model)._waiting) == PARALLEL)
    model.close()
    for one in waiting:
        one.join()
    assert len(told) == 2 * PARALLEL
    with pytest.raises(Infrastructure, match="closed"):
        model.complete(ask())


def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    while not holds():
        threading.Event().wait(0.01)
