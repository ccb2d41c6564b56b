"""How long the demo's stages take: `python -m tests.bench.stages [CHECKOUT...]`.

Each stage is a command of its own, in a fresh store. Several checkouts of the project take turns,
stage by stage, so that what else this machine does meets them alike. Printed: seconds of wall and
of CPU, of the command and of all workers below it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STAGES = ("generate", "dataset", "train", "export", "simulate", "evaluate", "report")
HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Took:
    """Seconds that a stage took."""

    wall: float
    cpu: float

    def __add__(self, other: Took) -> Took:
        return Took(self.wall + other.wall, self.cpu + other.cpu)


def main(checkouts: Sequence[Path]) -> None:
    """Measure and print a table, a row a stage."""
    print("| stage |" + "".join(f" {one.name}: wall s | CPU s |" for one in checkouts))
    print("|---" * (1 + 2 * len(checkouts)) + "|")
    totals = [Took(0, 0) for _ in checkouts]
    with tempfile.TemporaryDirectory(prefix="cbt-ray-") as stores:
        for stage in STAGES:
            took = [ran(one, stage, f"{stores}/{at}") for at, one in enumerate(checkouts)]
            totals = [sum_ + one for sum_, one in zip(totals, took, strict=True)]
            print(row(stage, took), flush=True)
    print(row("all", totals))


def ran(checkout: Path, stage: str, store: str) -> Took:
    """A stage of a checkout's demo; what it prints goes to standard error."""
    command = [sys.executable, "-m", "cbt_ray", stage, "studies/demo.yaml", "--set"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    began, before = time.monotonic(), cpu_of_children()
    subprocess.run(
        [*command, f"store={store}"], cwd=checkout, env=environment, stdout=sys.stderr, check=True
    )
    return Took(time.monotonic() - began, cpu_of_children() - before)


def cpu_of_children() -> float:
    """Seconds of CPU of all that ended below this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(stage: str, took: Sequence[Took]) -> str:
    """A line of the table."""
    return f"| {stage} |" + "".join(f" {one.wall:.0f} | {one.cpu:.0f} |" for one in took)


if __name__ == "__main__":
    main([Path(one).resolve() for one in sys.argv[1:]] or [HERE])
