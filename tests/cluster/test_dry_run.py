"""What `submit --dry-run` prints: valid against the schemas, within the policy, and without a word
of a secret.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cluster.printed import JOBS, SERVED, dry_run
from tests.k8s import schema
from tests.k8s.policy import complaints
from tests.k8s.rendered import OVERLAYS, pod_templates, with_components

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("autoscaled", [False, True])
def test_objects_are_valid_and_keep_the_policy(
    job: str, overlay: str, autoscaled: bool, tmp_path: Path
) -> None:
    options = (["--model", "smollm2"] if job in ("train", "export", "fetch") else []) + (
        ["--autoscaled"] if autoscaled else []
    )
    config, filled = yaml.safe_load_all(dry_run(tmp_path, job, overlay, *options))
    assert config["metadata"]["name"] == filled["metadata"]["name"]
    schema.check_core(config)
    (schema.check_custom if filled["kind"] == "RayJob" else schema.check_core)(filled)
    assert "unset" not in yaml.safe_dump(filled)
    for _, template in pod_templates(filled):
        role, spec = template["metadata"]["labels"]["cbt-ray/role"], template["spec"]
        assert complaints(spec, may_hold_token=autoscaled and role == "head") == [], role
        holds = any(
            "serviceAccountToken" in source
            for v in spec["volumes"]
            for source in (v.get("projected") or {}).get("sources", [])
        )
        assert holds == (autoscaled and role == "head")


def test_a_search_has_the_time_of_all_its_trainings(tmp_path: Path) -> None:
    def deadline(**changes: object) -> int:
        *_, job = yaml.safe_load_all(
            dry_run(tmp_path, "train", "kind", "--model", "smollm2", **changes)
        )
        return int(job["spec"]["activeDeadlineSeconds"])

    search = {"learning_rate": [1e-4, 2e-4], "rank": [8, 16]}
    assert deadline(models__smollm2__recipe__search=search) == 4 * deadline()


def test_all_jobs_of_a_study_at_once(tmp_path: Path) -> None:
    found = list(yaml.safe_load_all(dry_run(tmp_path, "study", "kind")))
    assert [document["kind"] for document in found if document["kind"] != "ConfigMap"] == [
        "Job",
        "RayJob",
        "Job",
        "Job",
        "RayJob",
        "Job",
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_simulation_with_served_models_prints_their_servers(overlay: str, tmp_path: Path) -> None:
    found = list(yaml.safe_load_all(dry_run(tmp_path, "simulate", overlay, **SERVED)))
    kinds = [document["kind"] for document in found]
    assert kinds[:2] == ["ConfigMap", "RayJob"]
    assert sorted(kinds[2:]) == ["Deployment", "NetworkPolicy", "Service"]
    (service,) = [one["metadata"]["name"] for one in found if one["kind"] == "Service"]
    inside = yaml.safe_load(found[0]["data"]["study.yaml"])
    address = inside["endpoints"]["served"]["api_base"]
    assert address.replace("{model}", "smollm2") == f"http://{service}:8000/v1"


def test_an_unknown_overlay_names_the_known_ones(tmp_path: Path) -> None:
    output = dry_run(tmp_path, "generate", "nowhere", expect=2)
    assert (
        "--overlay nowhere: expected one of ['eks', 'gke', 'gpu', 'kind', 'on-premises']" in output
    )


def test_a_store_whose_port_is_shut_to_pods_is_refused(tmp_path: Path) -> None:
    """As somebody has it who names a server of their own and forgets its policy."""
    own = tmp_path / "own"
    own.mkdir()
    with_components(own, "overlays/gpu")
    kustomization = yaml.safe_load((own / "kustomization.yaml").read_text())
    data = {"store": "s3://bucket?endpoint=https://s3.example.com:9443"}
    change = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "cluster"}}
    kustomization["patches"] = [{"patch": yaml.safe_dump(change | {"data": data})}]
    (own / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    output = dry_run(tmp_path, "evaluate", str(own), expect=2)
    assert "expected a NetworkPolicy that lets pods out to the store's port 9443" in output
