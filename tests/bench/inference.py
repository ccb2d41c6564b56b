"""What decoding conversations together is worth: `python -m tests.bench.inference [GGUF]`.

Eight conversations of a therapist and a patient, whose prompts begin alike and have 500 tokens and
more. Once with `parallel: 1` (a model for each side, one call at a time), once with `parallel: 8`,
each in a process of its own with one thread, and the ceiling: bare decoding at that depth.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from cbt_ray.llm.decoder import Decoder
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.llm.llamacpp import LlamaCppModel
from cbt_ray.llm.request import Message, Request
from cbt_ray.study.endpoint import Sampling
from tests.stages.scripted import EMBEDDED

CONVERSATIONS, TURNS, TOKENS, DEPTH = 8, 4, 32, 600
Side = Literal["user", "assistant"]
SAMPLING = Sampling(max_tokens=TOKENS, temperature=0.8, min_p=0.05)
SIDES = {
    "therapist": "You are a therapist. You speak warmly and ask one question at a time. " * 30,
    "patient": "You are a patient who sleeps badly, is tired and has given up much. " * 30,
}


def main() -> None:
    """Measure and print a table."""
    gguf = sys.argv[1] if len(sys.argv) > 1 else str(load_gguf_path(EMBEDDED))
    print("| how | tokens | CPU s | tokens a CPU second | wall s | MB |\n" + "|---" * 6 + "|")
    for parallel in (1, CONVERSATIONS):
        code = f"from tests.bench.inference import held; held({gguf!r}, {parallel})"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        tokens, cpu, wall, memory = json.loads(run.stdout.splitlines()[-1])
        print(
            f"| parallel: {parallel} | {tokens} | {cpu:.1f} | {tokens / cpu:.1f} | {wall:.1f} "
            f"| {memory} |",
            flush=True,
        )
    for sequences in (1, CONVERSATIONS):
        print(f"| ceiling, {sequences} at once | | | {ceiling(gguf, sequences):.1f} | | |")


def held(gguf: str, parallel: int) -> None:
    """Hold the conversations; prints tokens, seconds of CPU and of wall, MB."""
    number = 1 if parallel > 1 else len(SIDES)
    models = [
        LlamaCppModel(Path(gguf), context=2048, threads=1, parallel=parallel) for _ in range(number)
    ]
    by_side = {side: models[at % number] for at, side in enumerate(SIDES)}
    cpu, wall = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(CONVERSATIONS if parallel > 1 else 1) as pool:
        tokens = sum(pool.map(lambda seed: conversation(by_side, seed), range(CONVERSATIONS)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps([tokens, cpu, wall, memory]), flush=True)


def conversation(models: dict[str, LlamaCppModel], seed: int) -> int:
    """The tokens that both sides say."""
    said, tokens = ["Hello. How have you been since we last spoke?"], 0
    for turn in range(2 * TURNS):
        side = "patient" if turn % 2 == 0 else "therapist"
        # Each side's own words are the assistant's, so the last message is always the other's.
        roles: tuple[Side, Side] = ("user", "assistant")
        if side == "therapist":
            roles = ("assistant", "user")
        history = [Message(roles[at % 2], text) for at, text in enumerate(said)]
        opening = [Message("user", "(Begin.)")] if roles[0] == "assistant" else []
        messages = (Message("system", SIDES[side]), *opening, *history)
        reply = models[side].complete(Request(messages, SAMPLING, seed=100 * seed + turn))
        said.append(reply.text.strip() or "I see.")
        tokens += reply.reply_tokens
    return tokens


def ceiling(gguf: str, sequences: int) -> float:
    """Tokens a CPU second of batches with one token of each sequence, all DEPTH tokens long."""
    import llama_cpp

    model = LlamaCppModel(Path(gguf), context=2048, threads=1, parallel=max(2, sequences))
    decoder = model._decoder
    assert isinstance(decoder, Decoder)
    batch, memory = decoder._batch, decoder._memory

    def decode(rows: list[tuple[int, int]]) -> None:
        for at, (sequence, position) in enumerate(rows):
            batch.token[at], batch.pos[at] = 100 + position % 1000, position
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
            batch.logits[at] = True
        batch.n_tokens = len(rows)
        assert llama_cpp.llama_decode(decoder.ctx, batch) == 0

    for begin in range(0, DEPTH, 300):
        decode([(0, position) for position in range(begin, begin + 300)])
    for sequence in range(1, sequences):
        llama_cpp.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
    decode([(sequence, DEPTH) for sequence in range(sequences)])
    begun, rounds = time.process_time(), 16
    for step in range(1, 1 + rounds):
        decode([(sequence, DEPTH + step) for sequence in range(sequences)])
    took = time.process_time() - begun
    model.close()
    return rounds * sequences / took


if __name__ == "__main__":
    main()
