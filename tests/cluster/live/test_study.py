"""The smallest study in the cluster: every stage in its containers, against the same study on this
machine.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.store import open_store
from cbt_ray.unit import Stage
from tests.cluster.live import cluster
from tests.k8s.policy import complaints
from tests.stages import scripted

STUDY = "kindest"
REPRODUCIBLE = (Stage.PROFILES, Stage.COURSES, Stage.SESSIONS, Stage.RATINGS)


def document(store: str, **changes: Any) -> dict[str, Any]:
    """Two courses, two arms, one training of three steps; a scripted model speaks."""
    whole = scripted.study_document(store, latency=0.05, **changes) | {
        "study": changes.get("study", STUDY)
    }
    whole["models"] = {"first": whole["models"]["first"]}
    whole["arms"] = [
        {"name": "first-instruct", "model": "first"},
        {"name": "first-tuned", "model": "first", "tuned": True},
    ]
    del whole["engine"]
    return whole


def write(folder: Path, store: str = "runs", **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    return scripted.write_study(folder, document(store, **changes))


@dataclass
class Watcher:
    """Looks at all pods every second, so that injected containers and short-lived pods are seen,
    too.
    """

    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: bool = False

    def watch(self) -> None:
        while not self.ended:
            with contextlib.suppress(subprocess.CalledProcessError):  # the next look sees them
                for pod in cluster.objects("pods"):
                    self.seen[pod["metadata"]["name"]] = pod
            time.sleep(1)


@dataclass
class Run:
    """What one run of the whole study left."""

    folder: Path
    output: str
    pods: dict[str, dict[str, Any]]
    seconds: float


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The study, run in the cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster.forget(STUDY)
    cluster.kubectl("delete", "secret", "llm-keys", "--ignore-not-found")
    cluster.kubectl(
        "create",
        "secret",
        "generic",
        "llm-keys",
        f"--from-literal=SOME_API_KEY={secrets.token_hex(20)}",
    )
    study = write(folder)
    watcher = Watcher()
    thread = threading.Thread(target=watcher.watch, daemon=True)
    thread.start()
    begun = time.monotonic()
    output = cluster.cbt_ray("submit", "study", study)
    watcher.ended = True
    thread.join()
    print(output)
    return Run(folder, output, watcher.seen, time.monotonic() - begun)


def test_keys_and_contents_are_those_of_this_machine(run: Run, tmp_path: Path) -> None:
    local = tmp_path / "local"
    study = write(local, str(tmp_path / "store"))
    subprocess.run(
        [sys.executable, "-m", "cbt_ray", "study", str(study)],
        env=cluster.environment(),
        check=True,
        timeout=600,
    )
    here, there = open_store(str(tmp_path / "store")), cluster.store()
    ours = cluster.units(here, STUDY, *Stage)
    theirs = cluster.units(there, STUDY, *Stage)
    assert set(ours) == set(theirs)
    for path, data in ours.items():
        if path.split("/")[1] in REPRODUCIBLE:
            mine, other = json.loads(data), json.loads(theirs[path])
            assert mine["content"] == other["content"], path
    assert not list(there.list(f"{STUDY}/aside/")), "nothing was torn or made twice"


def test_the_report_is_fetched_and_the_tables_beside_it(run: Run) -> None:
    folder = Path("runs") / f"{STUDY}-kind"
    assert f"report: {folder / 'report.html'}" in run.output
    assert "<html" in (folder / "report.html").read_text()[:200]
    assert (folder / "tables" / "scores.csv").read_text().count("\n") == 1 + 2 * 2 * 2


def test_a_finished_stage_creates_nothing(run: Run) -> None:
    before = {pod["metadata"]["uid"] for pod in cluster.objects("pods")}
    output = cluster.cbt_ray("submit", "train", run.folder / "study.yaml", "--model", "first")
    assert "finished" in output
    assert {pod["metadata"]["uid"] for pod in cluster.objects("pods")} <= before


def test_an_unknown_model_is_exit_2_and_nothing_is_created(run: Run) -> None:
    before = len(cluster.objects("jobs"))
    output = cluster.cbt_ray(
        "submit", "train", run.folder / "study.yaml", "--model", "nonsense", expect=2
    )
    assert "unknown model 'nonsense', expected one of ['first']" in output.splitlines()[-1]
    assert len(cluster.objects("jobs")) == before


def test_every_pod_kept_to_the_policy_injected_containers_included(run: Run) -> None:
    roles = {pod["metadata"]["labels"].get("cbt-ray/role") for pod in run.pods.values()}
    assert {"head", "worker", "submitter", "train", "export", "evaluate", "store"} <= roles
    injected = [
        c["name"] for pod in run.pods.values() for c in pod["spec"].get("initContainers", [])
    ]
    assert "wait-gcs-ready" in injected, "KubeRay's own container is among those that are judged"
    found = {name: complaints(pod["spec"]) for name, pod in run.pods.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_pod_that_is_not_restricted_is_refused() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loose"},
        "spec": {"containers": [{"name": "a", "image": "b:1"}]},
    }
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cluster.kubectl("apply", "-f", "-", data=yaml.safe_dump(pod))
    assert 'violates PodSecurity "restricted' in refused.value.stderr


def test_no_secret_is_anywhere(run: Run) -> None:
    """Neither the store's credentials nor a cluster's token stand in a spec, a log, a unit or an
    image.
    """
    values = []
    for secret in cluster.objects("secrets"):
        values += [
            base64.b64decode(value).decode(errors="replace") for value in secret["data"].values()
        ]
    values = [value for value in values if len(value) >= 16]
    assert len(values) >= 2
    kinds = "pods,jobs,rayjobs,rayclusters,configmaps,services,statefulsets,deployments,events"
    places = {"objects": cluster.kubectl("get", kinds, "-o", "yaml"), "output": run.output}
    for pod in cluster.objects("pods"):
        name = pod["metadata"]["name"]
        places[name] = cluster.kubectl(
            "logs", name, "--all-containers", "--prefix", "--ignore-errors"
        )
    known = cluster.store()
    for path in known.list(f"{STUDY}/"):
        if (known.size(path) or 0) < 5_000_000:
            places[path] = (known.read(path) or b"").decode(errors="replace")
    ran = {one["image"] for pod in run.pods.values() for one in pod["spec"]["containers"]}
    ours = ran & set(cluster.images().values())
    assert len(ours) == 2, "the simulation's and the training's"
    for image in ours:
        command = ["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image]
        places[image] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for value in values:
        leaks = [
            place
            for place, text in places.items()
            if value in text or base64.b64encode(value.encode()).decode() in text
        ]
        assert leaks == []


def test_exit_2_in_a_rayjob_calls_no_model_on_its_next_attempt(tmp_path: Path) -> None:
    """The budget is spent: what KubeRay tries next stops before any call, and `submit` ends with
    the job's own 2.
    """
    cluster.forget("spent")
    study = write(tmp_path, study="spent", budget={"calls": 5})
    known = cluster.store()

    def spent() -> int:
        records = [scripted.record(known.read(path)) for path in known.list("spent/usage/")]
        return sum(record["usage"]["calls"] for record in records if "usage" in record)

    cluster.cbt_ray("submit", "generate", study, "--no-wait")
    (job,) = cluster.objects("rayjobs", "cbt-ray/study=spent")
    cluster.wait_until(
        lambda: _attempted_again(job["metadata"]["name"]), "a second attempt", 300, every=2
    )
    at_first = spent()
    assert 0 < at_first <= 5
    cluster.wait_until(
        lambda: "which no further attempt can change" in _submitter_log("spent"),
        "it stops",
        300,
        every=2,
    )
    assert len(list(known.list("spent/attempts/"))) == 1
    output = cluster.cbt_ray("submit", "generate", study, expect=2)
    assert "budget.calls" in output.splitlines()[-1]
    assert spent() == at_first
    cluster.cbt_ray("cancel", "generate", study)


def _attempted_again(name: str) -> bool:
    status = json.loads(cluster.kubectl("get", "rayjob", name, "-o", "json"))["status"]
    return int(status.get("failed") or 0) >= 1


def _submitter_log(study: str) -> str:
    pods = cluster.objects("pods", f"cbt-ray/study={study},cbt-ray/role=submitter")
    names = [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] != "Pending"]
    return "".join(cluster.kubectl("logs", name, "--ignore-errors") for name in names)
