"""vLLM as a process: how it is started, that it is ready, how it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.llm.chat_request import NO_KEY
from cbt_ray.study.endpoint import VllmEndpoint
from cbt_ray.study.serving import RANKS
from cbt_ray.vllm.holding import Holding

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""All that it needs is on this machine, and nothing leaves it."""
GRACE_S = 30.0
"""Seconds in which it has to end by itself."""


def command_line(
    program: str, held: Holding, endpoint: VllmEndpoint, host: str, port: int, more: Sequence[str]
) -> list[str]:
    """How vLLM is started.

    What the study file says comes last, so it wins over `more`. The default backend of schemas,
    xgrammar, refuses a repeat above 128.
    """
    started = [program, "serve", str(held.base), *more]
    started += ["--served-model-name", held.name, "--dtype", endpoint.dtype]
    started += ["--max-model-len", str(endpoint.context)]
    started += ["--tokenizer-mode", "hf", "--config-format", "hf"]
    started += ["--structured-outputs-config", '{"backend": "guidance"}']
    started += ["--host", host, "--port", str(port)]
    if held.adapters:
        rank = next(one for one in RANKS if one >= held.rank)
        started += ["--enable-lora", "--max-loras", str(len(held.adapters))]
        started += ["--max-lora-rank", str(rank), "--lora-modules"]
        started += [f"{name}={folder}" for name, folder in held.adapters.items()]
    return started


def program_of(given: str | None) -> str:
    """The command `vllm`: the one that is given, the one in this environment, or on the PATH."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(
        given or "vllm", path=os.pathsep.join([beside, os.environ.get("PATH", "")])
    )
    if found is None:
        raise InputError(
            f"--vllm: expected the program of vLLM, found none at {given}"
            if given
            else "--vllm: expected the program of vLLM, there is none on the PATH; it has an "
            "environment of its own (docs/servers.md)"
        )
    return str(Path(found).absolute())


def check_free(host: str, port: int) -> None:
    """Raise InputError where somebody answers at the port, who would be taken for vLLM."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"--port: expected one that is free, {port}: {error.strerror}"
            ) from None


@contextlib.contextmanager
def running(command: Sequence[str], key: str | None) -> Iterator[subprocess.Popen[bytes]]:
    """vLLM, for as long as the block runs; `key` is what requests have to bring."""
    process = subprocess.Popen(command, env=_environment(os.environ, key), start_new_session=True)
    try:
        yield process
    finally:
        _end(process)


def _environment(own: Mapping[str, str], key: str | None) -> dict[str, str]:
    return {**own, **OFFLINE, **({"VLLM_API_KEY": key} if key and key != NO_KEY else {})}


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and the processes that it started, which it ends itself where it is asked in time."""
    process.terminate()
    end = time.monotonic() + GRACE_S
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
