"""Servers of tuned models: what is made of them, for whom, and that they go with the Ray cluster of
an attempt.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cbt_ray.batch.attempt import Attempts
from cbt_ray.batch.job import BatchJob
from cbt_ray.cluster.follow import Clock, Ending, Follower
from cbt_ray.cluster.overlay import Overlay
from cbt_ray.cluster.prepare import prepare
from cbt_ray.cluster.servers import Keeper, servers
from cbt_ray.cluster.site import Options
from cbt_ray.cluster.submission import Images, Submission
from cbt_ray.cluster.submit import _keep
from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store import open_store
from cbt_ray.study import Study, load_study
from cbt_ray.study.endpoint import VllmEndpoint
from cbt_ray.work.keys import Keys
from cbt_ray.work.workshop import prompts_of
from tests.cluster.fake import FakeCluster, FakeTime
from tests.k8s import schema
from tests.k8s.network import End, flows
from tests.k8s.policy import complaints
from tests.k8s.rendered import OVERLAYS, labels, overlay, pod_templates, with_components
from tests.study.example import example_study, write_study

pytestmark = pytest.mark.slow

IMAGES = Images("cbt-ray-cpu:1", "cbt-ray-train:1", "cbt-ray-vllm:1")
VLLM = {
    "kind": "vllm",
    "weights": "finetuned",
    "dtype": "bfloat16",
    "api_base": "http://{model}/v1",
}
"""Two endpoints, of which one serves two base models."""
CHANGES: Mapping[str, Any] = {
    "endpoints__served": VLLM,
    "endpoints__narrow": {**VLLM, "context": 4096, "api_key_env": "SERVER_KEY"}
    | {"api_base": "http://narrow/v1"},
    "arms": [
        {"name": "tuned", "model": "smollm2", "tuned": True, "endpoint": "served"},
        {"name": "plain", "model": "smollm2", "endpoint": "served"},
        {"name": "other", "model": "other", "tuned": True, "endpoint": "served"},
        {"name": "narrow", "model": "other", "tuned": True, "endpoint": "narrow"},
    ],
}


def study(folder: Path) -> Study:
    document = example_study(**CHANGES)
    document["models"]["other"] = copy.deepcopy(document["models"]["smollm2"])
    return load_study(write_study(folder, document | {"store": "s3://some-bucket"}))


def submission(folder: Path, job: BatchJob = BatchJob.SIMULATE, on: str = "kind") -> Submission:
    one = study(folder)
    keys = Keys(one, prompts_of(one))
    return prepare(one, Overlay(on, overlay(on)), job, None, Options(images=IMAGES), keys)


def made(found: Submission, on: str = "kind") -> list[dict[str, Any]]:
    return servers(found, "demo-simulate-1", Overlay(on, overlay(on)).servers)


@pytest.mark.parametrize("on", OVERLAYS)
def test_each_server_is_valid_keeps_the_policy_and_asks_for_its_own_model(
    on: str, tmp_path: Path
) -> None:
    found = made(submission(tmp_path, on=on), on)
    assert len(found) == 3 * 3
    for manifest in found:
        schema.check_core(manifest)
        assert "cbt-ray/template" not in labels(manifest)
    asked = []
    for manifest in found:
        for _, pod in pod_templates(manifest):
            assert complaints(pod["spec"]) == []
            (container,) = pod["spec"]["containers"]
            assert container["image"] == "cbt-ray-vllm:1"
            args, further = " ".join(container["args"]).partition(" -- ")[::2]
            asked.append(args[args.index("--model") :])
            assert further == ("--enforce-eager" if on == "kind" else "")
            names = [one["name"] for one in container["env"] if one["name"].endswith("_KEY")]
            assert names == ["AWS_SECRET_ACCESS_KEY", "SERVER_KEY"][: 1 + ("narrow" in args)]
            (held,) = [v["configMap"] for v in pod["spec"]["volumes"] if v["name"] == "study"]
            assert held["name"] == "demo-simulate-1"
    assert sorted(asked) == [
        "--model other --endpoint narrow",
        "--model other --endpoint served",
        "--model smollm2 --endpoint served",
    ]


def test_the_study_in_the_cluster_asks_each_server_by_its_service(tmp_path: Path) -> None:
    found = submission(tmp_path)
    file = tmp_path / "inside.yaml"
    file.write_text(found.config_map("demo-simulate-1", "cbt-ray")["data"]["study.yaml"])
    there = load_study(file)
    services = {m["metadata"]["name"] for m in made(found) if m["kind"] == "Service"}
    addresses = set()
    for server in found.servers:
        endpoint = there.endpoints[server.endpoint]
        assert isinstance(endpoint, VllmEndpoint)
        addresses.add(endpoint.address(server.model))
    assert addresses == {f"http://{name}:8000/v1" for name in services}
    assert Keys(there, prompts_of(there)).all() == Keys(found.study, prompts_of(found.study)).all()


def test_a_service_finds_the_pods_of_its_own_server_alone(tmp_path: Path) -> None:
    mine = submission(tmp_path)
    found = [*made(mine), *made(replace(mine, id="another"))]
    pods = [pod["metadata"]["labels"] for m in found for _, pod in pod_templates(m)]
    for manifest in found:
        if manifest["kind"] == "Service":
            wanted = manifest["spec"]["selector"].items()
            assert sum(wanted <= pod.items() for pod in pods) == 1


def test_a_server_is_reached_by_its_own_submission_alone(tmp_path: Path) -> None:
    mine = submission(tmp_path)
    found = made(mine)
    policies = [m for m in overlay("kind") if m["kind"] == "NetworkPolicy"]
    policies = [m for m in policies if m["metadata"]["name"] != "vllm"]
    policies += [m for m in found if m["kind"] == "NetworkPolicy"]
    worker = {"cbt-ray/role": "worker", "cbt-ray/calls-llm": "true"}
    server = next(dict(pod["metadata"]["labels"]) for m in found for _, pod in pod_templates(m))
    ends = [
        End("mine", "10.244.2.1", "cbt-ray", worker | mine.labels, ()),
        End("another's", "10.244.2.2", "cbt-ray", worker | {"cbt-ray/submission": "x"}, ()),
        End("server", "10.244.2.3", "cbt-ray", server, (8000, 8001)),
    ]
    assert flows(policies, ends, "cbt-ray") == {("mine", "server"): {8000}}


@pytest.mark.parametrize("job", [BatchJob.GENERATE, BatchJob.EVALUATE])
def test_only_simulations_have_servers(job: BatchJob, tmp_path: Path) -> None:
    assert submission(tmp_path, job).servers == ()


def test_an_overlay_without_their_templates_is_refused() -> None:
    with pytest.raises(InputError, match="--overlay bare: expected templates with the label"):
        _ = Overlay("bare", []).servers


def job(name: str | None) -> dict[str, Any]:
    return {"kind": "RayJob", "metadata": {"name": "job"}, "status": {"rayClusterName": name}}


def ray_cluster(cluster: FakeCluster, name: str) -> str:
    """A Ray cluster in the dictionary; answers its identity."""
    document = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name}}
    return str(cluster.create(document)["metadata"]["uid"])


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(FakeCluster(), made(submission(tmp_path)), lambda _: None)


def owners(cluster: FakeCluster) -> list[str]:
    found = [d for (kind, _), d in cluster.objects.items() if kind != "RayCluster"]
    return [d["metadata"]["ownerReferences"][0]["uid"] for d in found]


def test_nothing_is_made_before_there_is_a_ray_cluster(keeper: Keeper) -> None:
    for name in (None, "gone"):
        assert not keeper.keep(job(name))
    assert keeper.cluster.find("Deployment") == []


def test_servers_belong_to_the_ray_cluster_and_are_made_once(keeper: Keeper) -> None:
    cluster = keeper.cluster
    assert isinstance(cluster, FakeCluster)
    uid = ray_cluster(cluster, "first")
    assert keeper.keep(job("first"))
    assert owners(cluster) == [uid] * 9
    created = list(cluster.created)
    assert keeper.keep(job("first"))
    again = Keeper(cluster, keeper.manifests, keeper.say)
    assert again.keep(job("first")), "somebody who attaches finds them"
    assert cluster.created == created


def test_a_further_attempt_has_servers_of_its_own(keeper: Keeper) -> None:
    cluster = keeper.cluster
    assert isinstance(cluster, FakeCluster)
    ray_cluster(cluster, "first")
    assert keeper.keep(job("first"))
    uid = ray_cluster(cluster, "second")
    for _ in range(20):
        if keeper.keep(job("second")):
            break
    assert owners(cluster) == [uid] * 9


def test_a_ray_cluster_on_its_way_out_gets_none(keeper: Keeper) -> None:
    cluster = keeper.cluster
    assert isinstance(cluster, FakeCluster)
    ray_cluster(cluster, "first")
    cluster.patch("RayCluster", "first", {"metadata": {"deletionTimestamp": "now"}})
    assert not keeper.keep(job("first"))
    assert cluster.find("Deployment") == []


def follow(keeper: Keeper, folder: Path) -> Ending:
    """Follow the job to its end, on the day of the events."""
    attempts, time = Attempts(open_store(str(folder)), "small", "1"), FakeTime()
    clock = Clock(time.now, time.sleep, lambda: datetime(2026, 11, 21, 12, tzinfo=UTC))
    following = Follower(keeper.cluster, attempts, "RayJob", "job", "1", keeper.say, 60, clock)
    following.tend, following.others = keeper.keep, keeper.names
    return following.follow()


def test_a_job_is_tended_as_long_as_it_runs(keeper: Keeper, tmp_path: Path) -> None:
    cluster = keeper.cluster
    assert isinstance(cluster, FakeCluster)
    ray_cluster(cluster, "first")
    cluster.create(job("first"))
    looks = []

    def run(fake: FakeCluster) -> None:
        looks.append(len(fake.created))
        if len(looks) == 3:
            fake.end("RayJob", 0)

    cluster.script = run
    assert follow(keeper, tmp_path).code == 0
    assert looks[0] == 2
    assert set(looks[1:]) == {11}


def test_pods_of_a_server_that_are_refused_are_told(keeper: Keeper, tmp_path: Path) -> None:
    cluster = keeper.cluster
    assert isinstance(cluster, FakeCluster)
    cluster.create(job(None))
    cluster.create(
        {
            "kind": "Event",
            "metadata": {"name": "event"},
            "type": "Warning",
            "reason": "FailedCreate",
            "message": 'pods "x" is forbidden: exceeded quota: studies',
            "lastTimestamp": "2026-11-21T12:00:00Z",
            "involvedObject": {"name": f"{keeper.names[0]}-5d4f"},
        }
    )
    ending = follow(keeper, tmp_path)
    assert ending.code == 2
    assert "its pods are refused: it is forbidden: exceeded quota" in ending.message


def test_a_server_is_counted_in_the_queue_of_its_job(tmp_path: Path) -> None:
    queued = Overlay("own", with_components(tmp_path, "overlays/gpu", "kueue"))
    found = servers(submission(tmp_path), "demo-simulate-1", queued.servers)
    told = [labels(one)["kueue.x-k8s.io/queue-name"] for one in found if one["kind"] != "Service"]
    assert told == ["cbt-ray"] * 6
    whole = queued.template(BatchJob.SIMULATE)
    assert labels(whole)["kueue.x-k8s.io/queue-name"] == "cbt-ray"


@pytest.mark.parametrize("held", [True, False])
def test_who_does_not_wait_is_told_of_servers_that_nobody_makes_yet(
    keeper: Keeper, held: bool
) -> None:
    """A job in a queue has no Ray cluster to which servers could belong, for hours perhaps."""
    said: list[str] = []
    document = job(None)
    document |= {"spec": {"suspend": held}}
    cluster = keeper.cluster
    cluster.create(document)
    site: Any = SimpleNamespace(cluster=cluster, say=said.append)
    if held:
        _keep(site, keeper, "job")
        (line,) = said
        assert "suspended by hand" in line
        assert "submit it again to make its servers" in line
    else:
        with pytest.raises(Infrastructure, match="KubeRay has not begun it"):
            _keep(site, keeper, "job")


def test_the_templates_are_not_changed(tmp_path: Path) -> None:
    before = yaml.safe_dump(overlay("kind"))
    made(submission(tmp_path))
    assert yaml.safe_dump(overlay("kind")) == before
