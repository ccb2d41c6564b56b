"""Train and export in a cluster in a dictionary: pairs that lie beside the study file, one job
after the other, and models that failed their parity gate.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.batch.job import BatchJob, owed
from cbt_ray.cluster.run import _around, _retry, _run_all, _run_one
from cbt_ray.cluster.site import Site
from cbt_ray.cluster.submit import submit
from cbt_ray.errors import InputError, Owed
from cbt_ray.stages.dataset import fetch_dataset, make_dataset
from cbt_ray.stages.generate import generate
from cbt_ray.stages.train import _made_pairs
from cbt_ray.store import Blob
from cbt_ray.store.store import sha256_of
from cbt_ray.study import load_study
from cbt_ray.study.model import Checkpoint
from cbt_ray.unit import Key, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.keys import Keys
from cbt_ray.work.preferences import bring
from cbt_ray.work.progress import Silent
from cbt_ray.work.workshop import local_file, prompts_of
from tests.cluster.fake import FakeCluster
from tests.cluster.test_submit import site
from tests.stages.probed import inputs_of
from tests.stages.scripted import EMBEDDED

ARMS = [{"name": "tuned", "model": "smollm2", "tuned": True}]
PAIR = {
    "messages": [{"role": "user", "content": "I am tired."}],
    "chosen": "Since when?",
    "rejected": "Sleep.",
}
ORPO = {
    "start": EMBEDDED,
    "compare": EMBEDDED,
    "licence": "Apache-2.0",
    "preferences_licence": "Apache-2.0",
    "method": "orpo",
}


MADE: dict[str, Any] = {
    "models__smollm2__recipe": {**ORPO, "preferences": "made:fair", "preferences_licence": None},
    "arms": [*ARMS, {"name": "plain", "model": "smollm2"}],
    "pairs": {"fair": {"rejected": {"endpoint": "script"}}},
    "endpoints__script__licence": "Apache-2.0",
    "imported": ...,
}


def with_dataset(tmp_path: Path, cluster: FakeCluster, **changes: Any) -> Site:
    here = site(tmp_path, cluster, [], **changes)
    generate(here.bench)
    make_dataset(here.bench)
    return here


def orpo(tmp_path: Path, cluster: FakeCluster, *pairs: Any) -> Site:
    (tmp_path / "the pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    recipe = {**ORPO, "preferences": "the pairs.jsonl"}
    return with_dataset(tmp_path, cluster, arms=ARMS, models__smollm2__recipe=recipe)


def test_pairs_go_along_with_the_study(tmp_path: Path, cluster: FakeCluster) -> None:
    here = orpo(tmp_path, cluster, PAIR)
    cluster.script = lambda fake: fake.end("Job", 1)
    submit(here, BatchJob.TRAIN, "smollm2")
    (config,) = [document for (kind, _), document in cluster.objects.items() if kind == "ConfigMap"]
    document = yaml.safe_load(config["data"]["study.yaml"])
    file = tmp_path / "the pairs.jsonl"
    assert (
        document["models"]["smollm2"]["recipe"]["preferences"]
        == f"store:{sha256_of(file)}-the_pairs.jsonl"
    )

    (tmp_path / "pod").mkdir()
    (tmp_path / "pod" / "study.yaml").write_text(config["data"]["study.yaml"])
    there = load_study(tmp_path / "pod" / "study.yaml")
    assert Keys(there, prompts_of(there)).all() == here.bench.keys.all()
    store = here.bench.store
    brought = bring(
        there, store, there.models["smollm2"].recipe, lambda blob: local_file(store, blob)
    )
    assert brought is not None
    assert brought.read_bytes() == file.read_bytes()
    assert not brought.is_relative_to(tmp_path / "pod")

    store.delete(str(brought.relative_to(tmp_path / "store")))
    with pytest.raises(
        InputError,
        match="expected a file that `submit` brought into the store, there is no "
        "small/preferences/",
    ):
        bring(there, store, there.models["smollm2"].recipe, lambda blob: local_file(store, blob))


def test_pairs_that_the_study_makes_are_trained_on_from_the_store(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    """None of the pods makes one; while one is owed nothing is created."""
    here = with_dataset(tmp_path, cluster, **MADE)
    pair = next(iter(here.bench.keys.pairs().values()))
    whole = here.bench.store.read(str(pair))
    here.bench.store.set_aside(str(pair))
    owing = replace(here, bench=Bench(here.study, Silent(), inline=True))
    with pytest.raises(
        Owed,
        match=rf"train: pairs still owes 1 unit, first {pair.id}; run first: cbt-ray submit gen",
    ):
        submit(owing, BatchJob.TRAIN, "smollm2")
    assert cluster.created == []

    here.bench.store.create(str(pair), whole or b"")
    cluster.script = lambda fake: fake.end("Job", 1)
    again = replace(here, bench=Bench(here.study, Silent(), inline=True))
    submit(again, BatchJob.TRAIN, "smollm2")
    (config,) = [document for (kind, _), document in cluster.objects.items() if kind == "ConfigMap"]
    (tmp_path / "pod").mkdir()
    text = yaml.safe_load(config["data"]["study.yaml"]) | {"store": here.study.store}
    (tmp_path / "pod" / "study.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    there = Bench(load_study(tmp_path / "pod" / "study.yaml"), Silent(), inline=True)
    assert there.keys.all() == here.bench.keys.all()
    pod, own = (
        pairs_in(bench, tmp_path / name) for bench, name in ((there, "a"), (here.bench, "b"))
    )
    assert pod == own
    assert {"chosen", "rejected"} < set(json.loads(pod.splitlines()[0]))


def pairs_in(bench: Bench, work: Path) -> str:
    """What a training gets, on whichever machine."""
    fetch_dataset(bench, bench.keys.dataset(), work / "dataset")
    files = _made_pairs(bench, bench.study.models["smollm2"].recipe, work)
    return "".join(file.read_text() for file in files if file is not None)


def test_pairs_of_no_use_are_refused_before_anything_is_created(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    here = orpo(tmp_path, cluster, PAIR, {**PAIR, "rejected": PAIR["chosen"]})
    with pytest.raises(
        InputError,
        match=r"study.yaml: models\.smollm2\.recipe\.preferences: .*line 2: rejected: expected "
        r"another",
    ):
        submit(here, BatchJob.TRAIN, "smollm2")
    assert cluster.created == []


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def failed(tmp_path: Path, cluster: FakeCluster) -> Site:
    """A study with its dataset and adapter, and a tuned model that failed its gate."""
    here = with_dataset(tmp_path, cluster, arms=ARMS)
    (made,) = here.bench.keys.models
    put_adapter(here, made)
    here.bench.store.put(rejected(here.bench, here.bench.keys.model(made)))
    return here


def put_adapter(here: Site, made: Checkpoint) -> None:
    key = here.bench.keys.adapter(made)
    here.bench.store.put(Unit(key, {"adapter": {}}, made_from=inputs_of(here.bench, key)))


def rejected(bench: Bench, key: Key) -> Unit:
    check = {
        "name": "stops",
        "passed": False,
        "measured": {"ended_by_eos": 0},
        "expected": "half of the answers",
    }
    content = {"gguf": Blob("path", "ab" * 32, 1).to_json(), "metrics": {"gate": [check]}}
    return Unit(key, content, Status.REJECTED, "parity: stops", made_from=inputs_of(bench, key))


def test_a_model_that_failed_its_gate_ends_with_two_each_time(
    failed: Site, cluster: FakeCluster
) -> None:
    for _ in range(2):
        ending = _run_all(failed, _around(BatchJob.TRAIN), None)
        assert ending.code == 2
        assert "failed its parity gate (stops: expected half of the answers" in ending.message
    assert cluster.created == []


def jobs_made(cluster: FakeCluster) -> list[str]:
    """The stages of the objects that were created, in order."""
    created = (one.removeprefix("Job/").split("-") for one in cluster.created if "Job/" in one)
    return [next(word for word in words if word in ("train", "export")) for words in created]


def test_a_training_goes_on_to_its_export_by_itself(tmp_path: Path, cluster: FakeCluster) -> None:
    here = with_dataset(tmp_path, cluster, arms=ARMS)
    (made,) = here.bench.keys.models

    def ended(fake: FakeCluster) -> None:
        if jobs_made(fake) == ["train"]:
            put_adapter(here, made)
        else:
            key = here.bench.keys.model(made)
            here.bench.store.put(Unit(key, {}, made_from=inputs_of(here.bench, key)))
        fake.end("Job", 0)

    cluster.script = ended
    assert _run_all(here, _around(BatchJob.TRAIN), "smollm2").code == 0
    assert jobs_made(cluster) == ["train", "export"]
    assert [owed(here.bench, job) for job in (BatchJob.TRAIN, BatchJob.EXPORT)] == [[], []]


def test_a_training_that_is_owed_has_no_export(tmp_path: Path, cluster: FakeCluster) -> None:
    here = with_dataset(tmp_path, cluster, arms=ARMS)
    cluster.script = lambda fake: fake.end("Job", 1)
    assert _run_all(here, _around(BatchJob.TRAIN), None).code == 1
    assert jobs_made(cluster) == ["train"]
    with pytest.raises(Owed, match="export: adapter still owes 1 unit"):
        submit(here, BatchJob.EXPORT, "smollm2")


def test_without_waiting_the_next_command_is_named(tmp_path: Path, cluster: FakeCluster) -> None:
    here, said = with_dataset(tmp_path, cluster, arms=ARMS), list[str]()
    here = replace(here, say=said.append, options=replace(here.options, wait=False))
    assert _run_all(here, _around(BatchJob.TRAIN), None).code == 0
    assert jobs_made(cluster) == ["train"]
    place = "--overlay kind --cpu-image cbt-ray-cpu:1 --train-image cbt-ray-train:1-cpu"
    export = f"cbt-ray submit export {here.study.file} {place}"
    assert said[-1] == f"once it has ended: {export}"
    put_adapter(here, here.bench.keys.tuned[0])
    assert _run_all(here, _around(BatchJob.TRAIN), None).code == 0
    assert jobs_made(cluster) == ["train", "export"]


def test_a_study_goes_on_with_the_other_arms(failed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from cbt_ray.cluster import run
    from cbt_ray.cluster.follow import Ending

    ran: list[BatchJob] = []
    real = _run_one

    def one(here: Site, job: BatchJob, model: str | None) -> Ending:
        ran.append(job)
        return real(here, job, model) if job is BatchJob.EXPORT else Ending(0)

    monkeypatch.setattr(run, "_run_one", one)
    monkeypatch.setattr(run, "check", lambda *_: None)
    monkeypatch.setattr(run, "_bring_report", lambda *_: None)
    ending = _run_all(failed, list(BatchJob), None, report=True)
    assert ran == list(BatchJob)
    assert ending.code == 2
    assert "parity gate" in ending.message


def test_what_ends_now_is_told_before_a_gate_that_failed_earlier(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    recipe = {"start": EMBEDDED, "compare": EMBEDDED, "licence": "Apache-2.0"}
    models = {"a": {"recipe": recipe}, "b": {"recipe": {**recipe, "seed": 1}}}
    arms = [{"name": model, "model": model, "tuned": True} for model in models]
    here = with_dataset(tmp_path, cluster, models=models, arms=arms)
    for name in models:
        put_adapter(here, Checkpoint(name, True))
    here.bench.store.put(rejected(here.bench, here.bench.keys.model(Checkpoint("a", True))))

    cluster.script = lambda fake: fake.end("Job", 1)
    ending = _run_one(here, BatchJob.EXPORT, None)
    assert (ending.code, ending.message) == (1, "PodFailurePolicy: ")

    def export_b(fake: FakeCluster) -> None:
        key = here.bench.keys.model(Checkpoint("b", True))
        here.bench.store.put(rejected(here.bench, key))
        fake.end("Job", 0)

    cluster.script = export_b
    ending = _run_one(here, BatchJob.EXPORT, None)
    assert ending.code == 2
    assert "models.a: the tuned model failed its parity gate" in ending.message


def test_retry_rejected_makes_it_owed_again(failed: Site, cluster: FakeCluster) -> None:
    assert owed(failed.bench, BatchJob.EXPORT) == []
    _retry(failed, BatchJob.EXPORT, "smollm2")
    assert owed(failed.bench, BatchJob.EXPORT) == ["smollm2-tuned"]
    with pytest.raises(
        InputError, match="--retry-rejected: expected a job that makes units, fetch makes none"
    ):
        _retry(failed, BatchJob.FETCH, None)


def test_retry_rejected_leaves_a_job_alone_that_runs(failed: Site, cluster: FakeCluster) -> None:
    (made,) = failed.bench.keys.models
    unit = rejected(failed.bench, failed.bench.keys.model(made))
    failed.bench.store.delete(str(unit.key))
    submit(replace(failed, options=replace(failed.options, wait=False)), BatchJob.EXPORT, "smollm2")
    failed.bench.store.put(unit)  # by the job, which still runs
    _retry(failed, BatchJob.EXPORT, "smollm2")
    assert owed(failed.bench, BatchJob.EXPORT) == []
    cluster.end("Job", 1)
    _retry(failed, BatchJob.EXPORT, "smollm2")
    assert owed(failed.bench, BatchJob.EXPORT) == ["smollm2-tuned"]


def test_pairs_that_are_in_no_store_are_refused_before_anything_is_created(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    recipe = {**ORPO, "preferences": f"store:{'ab' * 32}-pairs.jsonl"}
    here = with_dataset(tmp_path, cluster, arms=ARMS, models__smollm2__recipe=recipe)
    with pytest.raises(
        InputError,
        match=r"recipe\.preferences: expected a file that `submit` brought into the store, there "
        r"is no",
    ):
        submit(here, BatchJob.TRAIN, "smollm2")
    assert cluster.created == []
