"""What a conversation costs besides its model: `python -m tests.bench.orchestration`.

600 chains of 10 calls, each answered after 2 s by a server in a process of its own, on one and on
two workers. Printed: how near that is to 20 s, what a call costs in CPU on workers and in the
command, and what memory a chain takes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.llm.connection import Deadline
from cbt_ray.llm.exchange import exchange
from cbt_ray.stages.simulate import simulate
from cbt_ray.study import load_study
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages.scripted import WORKER, descendants
from tests.study.example import example_study, write_study

CALLS, ARMS, PATIENTS = 10, 2, 5
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """One run: seconds from the first call to the last answer and of CPU, kB of memory at most in
    all workers.
    """

    chains: int
    workers: int
    calls: int
    most_at_once: int
    wall_s: float
    worker_cpu_s: float
    driver_cpu_s: float
    memory_kb: int

    def efficiency(self, latency_s: float) -> float:
        """The ideal, in which nothing takes time but the model, by what it took."""
        return CALLS * latency_s / self.wall_s


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=600)
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    few = measured(10, asked.latency, 1)
    print(
        "| chains | workers | at once | wall s | of ideal | CPU a call: workers | command |", end=""
    )
    print(" kB a chain |\n" + "|---" * 8 + "|")
    for workers in asked.workers:
        run = measured(asked.chains, asked.latency, workers)
        memory = (run.memory_kb - workers * few.memory_kb) / run.chains
        print(
            f"| {run.chains} | {workers} | {run.most_at_once} | {run.wall_s:.1f} "
            f"| {run.efficiency(asked.latency):.1%} | {1000 * run.worker_cpu_s / run.calls:.2f} ms "
            f"| {1000 * run.driver_cpu_s / run.calls:.2f} ms | {memory:.0f} |",
            flush=True,
        )


def measured(chains: int, latency_s: float, workers: int) -> Run:
    """Hold a session in each chain."""
    with tempfile.TemporaryDirectory() as folder, latency_server(latency_s) as url:
        file = write_study(Path(folder), document(chains, workers, url))
        bench = Bench(load_study(file), Silent())
        study = bench.study
        asked = [study.role("patient"), *map(study.therapist, study.arms)]
        try:
            bench.prove({Stage.SESSIONS: {"all": asked}})
            counts(url)
            begun = time.process_time()
            simulate(bench)
            driver = time.process_time() - begun
            used = [_used(pid) for pid, line in descendants(os.getpid()).items() if WORKER in line]
        finally:
            bench.close()
        counted = counts(url)
    return Run(
        chains,
        workers,
        counted["calls"],
        counted["most"],
        counted["last"] - counted["first"],
        sum(cpu for cpu, _ in used),
        driver,
        sum(memory for _, memory in used),
    )


def document(chains: int, workers: int, url: str) -> dict[str, Any]:
    """A study of so many chains of one session, each of CALLS calls."""
    profile = "A patient who sleeps badly and has given up what was dear."
    return example_study(
        models=...,
        arms=[{"name": f"arm-{n}", "sampling": {"temperature": n / 2}} for n in range(ARMS)],
        patients__simulated=[
            {"name": f"Patient {chr(65 + n)}", "profile": profile} for n in range(PATIENTS)
        ],
        imported=...,
        endpoints__script={"kind": "litellm", "model": "openai/fixed", "api_base": url},
        sessions__count=1,
        sessions__max_messages=CALLS + 1,  # the first is the patient's, without a call
        sessions__replicates=-(-chains // (ARMS * PATIENTS)),
        engine={"workers": workers, "chains_per_worker": -(-chains // workers)},
    )


@contextmanager
def latency_server(latency_s: float) -> Iterator[str]:
    """The server's address."""
    command = [sys.executable, "-m", "tests.bench.latency_server", str(latency_s)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline() if server.stdout else 0)}"
    finally:
        server.kill()
        server.wait()


def counts(url: str) -> dict[str, Any]:
    """What arrived since this was last asked."""
    answer = exchange("GET", url, {}, b"", Deadline.after(60))
    counts: dict[str, Any] = json.loads(answer.body)
    return counts


def _used(pid: int) -> tuple[float, int]:
    """Seconds of CPU and the most memory in kB of a process."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return (int(times[11]) + int(times[12])) / TICKS, int(peak.split()[1])


if __name__ == "__main__":
    main()
