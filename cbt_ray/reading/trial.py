"""A trial: what comes from outside is tried in a process of its own, which ends where it computes
for too long.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

SECONDS = 0.5
"""Of computing, a task; a prompt takes some milliseconds."""
MEMORY = 512 << 20
"""Bytes beyond what this process holds."""
PATIENCE_S = 60.0
"""Without a word from a process that does not compute, either: it is ended."""
Task = Callable[[], list[str]]


def tried(tasks: Sequence[Task]) -> Iterator[list[str]]:
    """What each task answers, in their order; whoever has heard enough need not wait for the rest.

    Of one that did not come to its end, in what it failed.
    """
    while tasks:
        said, ending = _child(tasks)
        yield from said
        if len(said) < len(tasks):
            yield [ending]
        tasks = tasks[len(said) + 1 :]


def _child(tasks: Sequence[Task]) -> tuple[list[list[str]], str]:
    """The answers of the tasks up to the first that ended the process, and what ended it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(tasks, writer)
    os.close(writer)
    data, begun = b"", time.monotonic()
    while select.select([reader], [], [], max(0.0, begun + PATIENCE_S - time.monotonic()))[0]:
        piece = os.read(reader, 1 << 16)
        if not piece:
            break
        data, begun = data + piece, time.monotonic()
    os.close(reader)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return [json.loads(line) for line in data.split(b"\n")[:-1]], _ending(status)


def _ending(status: int) -> str:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number in (signal.SIGPROF, signal.SIGKILL):
        return f"it takes more than {SECONDS:g} s"
    return f"it ends the process ({signal.Signals(number).name if number else 'without an answer'})"


def _work(tasks: Sequence[Task], writer: int) -> None:
    """Do the tasks and leave; never comes back into the process that it is a copy of."""
    try:
        gc.freeze()  # or the tasks' time went into looking through all that the other process holds
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open("/proc/self/statm") as statm:  # noqa: PTH123  our own
            held = int(statm.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(
            resource.RLIMIT_AS, (min(held + MEMORY, hard if hard > 0 else held + MEMORY), hard)
        )
        for task in tasks:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                said = task()
            except MemoryError:
                said = ["it takes too much memory"]
            os.write(writer, json.dumps(said).encode() + b"\n")
    finally:
        os._exit(0)
