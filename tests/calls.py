"""How much work a function or a command does, as the number of functions that it calls.

A count is the same on every machine, however busy, where seconds are not. Python makes about 1.5
million calls a second on an idle core of a laptop of today, so a limit in seconds of such a laptop
is one in calls.
"""

from __future__ import annotations

import cProfile
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
A_SECOND = 1_500_000
COMMAND = """
import cProfile, sys
profile = cProfile.Profile()
profile.enable()
from cbt_ray.__main__ import prepare, run
prepare()
code = run(sys.argv[1:])
profile.disable()
print("\\n" + str(sum(entry.callcount for entry in profile.getstats())))
sys.exit(code)
"""


def calls_of(function: Callable[[], object]) -> int:
    """The calls that a function makes, those of C functions among them."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        function()
    finally:
        profile.disable()
    return sum(entry.callcount for entry in profile.getstats())


def calls_of_command(arguments: list[str], folder: Path, code: int = 0) -> int:
    """The calls that one run of the command line makes in a process of its own, its imports among
    them.
    """
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == code, done.stderr
    return int(done.stdout.splitlines()[-1])
