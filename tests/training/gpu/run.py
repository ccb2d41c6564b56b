"""The run: parts one after the other, each in a process with a limit, until the minutes are over.

What was found is written after each part.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.training.gpu.table import conclusions

MINUTES = 12.0
Found = dict[str, Any]
Command = Callable[[str], list[str]]
"""What runs a part."""


@dataclass(frozen=True)
class Part:
    """Something that is measured."""

    name: str
    limit: float
    """Seconds after which it is ended."""
    least: float
    """Below so many seconds it is not begun."""
    needs: tuple[str, ...] = ()
    """Packages."""
    behind: tuple[str, ...] = ("model",)
    """Parts that it goes on from."""


PARTS = (
    Part("model", 150, 0, behind=()),
    Part("trl", 110, 30),
    Part("unsloth", 110, 30, ("unsloth",)),
    Part("stock-unsloth", 100, 30, ("unsloth",)),
    Part("stock-trl", 100, 30),
    Part("job", 180, 60, ("llama_cpp",)),
    Part("unsloth-orpo", 90, 30, ("unsloth",)),
    Part("trl-orpo", 90, 30),
    Part("kernels", 60, 20),
    Part("trl-padded", 90, 30),
    Part("unsloth-padded", 90, 30, ("unsloth",)),
    Part("vllm", 120, 60, ("vllm",), ("model", "trl")),
)
"""What is worth most comes first."""


@dataclass
class Run:
    """What was found so far; `now` tells the time, `out` is where it is written."""

    command: Command
    out: Path
    head: Found
    minutes: float = MINUTES
    now: Callable[[], float] = time.monotonic
    has: Callable[[str], bool] = lambda _package: True
    found: dict[str, Found] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def carry_out(self, parts: Sequence[Part]) -> None:
        """All parts, as far as the minutes go."""
        began = self.now()
        for part in parts:
            left = 60 * self.minutes - (self.now() - began)
            if why := self._why_not(part, left):
                self.left_out[part.name] = why
            else:
                self._measure(part, min(part.limit, left))
            said = self.found.get(part.name) or {"left_out": self.left_out[part.name]}
            print(json.dumps({"part": part.name, **said}), flush=True)
            self._write(round(self.now() - began, 1))

    def _why_not(self, part: Part, left: float) -> str | None:
        lacking = [name for name in part.needs if not self.has(name)]
        if lacking:
            return f"{', '.join(lacking)} is not installed here"
        absent = [name for name in part.behind if name not in self.found]
        if absent:
            return f"it goes on from {', '.join(absent)}"
        if left < part.least:
            return f"{left:.0f} s are left, and it takes {part.least:.0f} or more"
        return None

    def _measure(self, part: Part, limit: float) -> None:
        lines, ended = carried_out(self.command(part.name), limit)
        found = _last(lines)
        if ended is None and found:
            self.found[part.name] = found
        elif found:
            self.found[part.name] = {**found, "unfinished": ended}
        else:
            self.left_out[part.name] = ended or "it said nothing"

    def _write(self, seconds: float) -> None:
        whole = {**self.head, "minutes": self.minutes, "seconds": seconds, "parts": self.found}
        whole |= {"left_out": self.left_out, "conclusions": conclusions(self.found)}
        beside = self.out.with_suffix(".partly")
        beside.write_text(json.dumps(whole, indent=1) + "\n")
        beside.replace(self.out)


def _last(lines: Sequence[str]) -> Found:
    """The last line of JSON; a part says more and more."""
    for line in reversed(lines):
        if line.startswith('{"part"'):
            try:
                found: Found = json.loads(line)
            except ValueError:
                continue  # it was ended within a line
            return {name: value for name, value in found.items() if name != "part"}
    return {}


def carried_out(command: Sequence[str], limit: float) -> tuple[list[str], str | None]:
    """The lines of a process, and how it ended where it did not end well; what it began ends with
    it.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    ended = None
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        ended = f"ended after its limit of {limit:.0f} s"
    if ended is None and process.returncode:
        last = " | ".join(line.strip() for line in err.splitlines()[-4:])
        ended = f"ended with {process.returncode}: {last}"[:600]
    return out.splitlines(), ended


def command_of(small: bool, folder: Path, base: str) -> Command:
    """What runs a part of this module's own."""
    more = ["--small"] if small else []
    program = [sys.executable, "-m", "tests.training.gpu"]
    return lambda part: [*program, "--run", part, str(folder), "--base", base, *more]
