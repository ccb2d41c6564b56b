"""A study file at its full size, with every endpoint scripted: `python -m tests.bench.full_size
studies/act.yaml [--set FIELD=VALUE]`.

All stages run as commands of their own but training, in whose place units without a model are put.
Printed, for each stage: calls as `plan` foretold them and as they were, seconds of wall and of CPU,
and the most memory of all its processes together.
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

from cbt_ray.cli.command import read_study
from cbt_ray.planning.estimate import estimate
from cbt_ray.study import Study
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.usage import Costs
from tests.stages.scripted import descendants

COMMANDS = {
    "generate": (Stage.COURSES, Stage.PAIRS),
    "dataset": (Stage.DATASET,),
    "simulate": (Stage.SESSIONS,),
    "evaluate": (Stage.RATINGS, Stage.ANALYSIS),
    "report": (Stage.REPORT,),
}
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True)
class Took:
    """What a command took."""

    wall_s: float
    cpu_s: float
    memory_mb: float


def main(file: str, given: Sequence[str]) -> None:
    """Run the study and print a table."""
    with tempfile.TemporaryDirectory(prefix="cbt-ray-") as store:
        own = (*given, *scripted(read_study(file, tuple(given))), f"store={store}")
        study = read_study(file, own)
        sets = [part for one in own for part in ("--set", one)]
        planned = {one.stage: one.calls for one in estimate(study)}
        print(
            "| command | calls planned | calls | wall s | CPU s | MB |\n|---|---|---|---|---|---|"
        )
        for command, stages in COMMANDS.items():
            if command == "simulate":
                put_models(study)
            took = ran([sys.executable, "-m", "cbt_ray", command, file, *sets])
            calls = Costs(Bench(study, Silent()).store, study.study).usage
            foretold = sum(planned.get(stage, 0) for stage in stages)
            print(
                f"| {command} | {foretold:.0f} | {sum(calls[stage].calls for stage in stages)} "
                f"| {took.wall_s:.0f} | {took.cpu_s:.0f} | {took.memory_mb:.0f} |",
                flush=True,
            )


def scripted(study: Study) -> list[str]:
    """Every endpoint as a script, as `--set` takes it."""
    return [f"endpoints.{name}={{kind: scripted, licence: Apache-2.0}}" for name in study.endpoints]


def put_models(study: Study) -> None:
    """Units of models that nobody trained: a script needs none."""
    bench = Bench(study, Silent())
    for made in bench.keys.models:
        key = bench.keys.model(made)
        inputs = [unit for _, unit in bench.store.get_many(bench.keys.inputs(key)) if unit]
        bench.origins.put(
            Unit(key, {"model": made.id}, made_from=bench.origins.record(key, inputs))
        )


def ran(command: Sequence[str]) -> Took:
    """Run a command to its end."""
    began, before = time.monotonic(), cpu_of_children()
    process = subprocess.Popen(command, stdout=sys.stderr, cwd=Path(__file__).parents[2])
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(memory_kb, [process.pid, *descendants(process.pid)])))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{command[3]}: exit code {process.returncode}")
    return Took(time.monotonic() - began, cpu_of_children() - before, most / 1000)


def memory_kb(pid: int) -> int:
    """Memory that a process holds now; none where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB
    except OSError:
        return 0


def cpu_of_children() -> float:
    """Seconds of CPU of all that ended below this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], [one for one in sys.argv[2:] if one != "--set"])
