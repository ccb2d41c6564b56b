"""Fetch and what uses it: exit codes and fields, train's way to the weights, an arm's GGUF as a
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.stages.fetch import on_this_machine, owed_weights
from cbt_ray.store.store import sha256_of
from cbt_ray.study import load_study
from cbt_ray.study.model import Checkpoint
from cbt_ray.training import environment
from cbt_ray.training.start import hub as hub_module
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.s3_server import free_ports
from tests.study.example import RECIPE, example_study, write_study
from tests.training.start.hub_server import Faults, HubServer, hub_server
from tests.training.start.test_hub import FETCHED, MODEL, TOKEN, write_model
from tests.training.tokenizer_files import CHATML, write_tokenizer_files

pytestmark = pytest.mark.slow

STUDIES = Path(__file__).parents[2] / "studies"
OTHER = "lab/other"
ARMS = [
    {"name": "plain", "model": "small"},
    {"name": "tuned", "model": "small", "tuned": True},
    {"name": "served", "model": "small", "endpoint": "script"},
]
ENDPOINT = {"kind": "llama_cpp", "gguf": "finetuned"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(hub_module, "WAIT_S", 0.0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("CBT_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    write_model(tmp_path / "hub" / MODEL)
    write_model(tmp_path / "hub" / OTHER, seed=2)
    for name in (MODEL, OTHER):
        folder = write_tokenizer_files(tmp_path / "hub" / name, CHATML)
        (folder / "chat_template.jinja").write_text(CHATML)
    with hub_server(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def study_of(folder: Path, **recipe: Any) -> Path:
    own = RECIPE | {"start": MODEL, "compare": MODEL, **recipe}
    changes = {
        "models": {"small": {"recipe": own}},
        "arms": ARMS,
        "endpoints__made": ENDPOINT,
        "store": str(folder / "runs"),
    }
    return write_study(folder, example_study(**changes, roles__therapist__endpoint="made"))


def bench_of(file: Path) -> Bench:
    return Bench(load_study(file), Silent(), inline=True)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert TOKEN not in captured.out + captured.err
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]


def test_fetch_brings_what_the_recipes_name_and_again_does_nothing(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_of(tmp_path, compare=OTHER)
    assert sorted(owed_weights(bench_of(file))) == [f"{OTHER}@main", f"{MODEL}@main"]
    assert run(["fetch", str(file), "--model", "small"]) == 0
    assert owed_weights(bench_of(file)) == []
    documents = {path for path in bench_of(file).store.list("weights/") if "/blobs/" not in path}
    assert documents == {
        f"weights/lab--{name}/main.{kind}"
        for name in ("small", "other")
        for kind in ("commit", "json")
    }
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert run(["fetch", str(file)]) == 0


def test_train_takes_the_weights_from_the_store(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_of(tmp_path, compare=OTHER, compare_revision=hub.commit(OTHER))
    assert run(["fetch", str(file)]) == 0
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    bench = bench_of(file)
    for tuned, model, revision in (
        (True, MODEL, "main"),
        (False, OTHER, hub.commit(OTHER)),
    ):
        made = Checkpoint("small", tuned)
        recipe, source = on_this_machine(bench, made, tmp_path / "work")
        folder = Path(recipe.start if tuned else recipe.compare)
        expected = {name: sha256_of(hub.folder / model / name) for name in FETCHED}
        assert {one.name: sha256_of(one) for one in folder.iterdir()} == expected
        commit = hub.commit(model)
        assert source == {
            "hub": model,
            "revision": revision,
            "commit": commit,
            "licence": "apache-2.0",
        }


def test_a_template_that_cannot_be_trained_with_is_refused_as_soon_as_it_is_here(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = CHATML.replace(
        "{{ m.content }}", "{% for part in m.content %}{{ part['text'] }}{% endfor %}"
    )
    (tmp_path / "hub" / MODEL / "chat_template.jinja").write_text(template)
    file = study_of(tmp_path)
    for command in (["fetch", str(file)], ["study", str(file), "--inline"]):
        assert run(command) == 2
        line = said(capsys)
        assert line.startswith(f"cbt-ray: {file}: models.small.recipe: chat_template: ")
        assert "the words of a message do not occur in the prompt" in line
    assert not list((tmp_path / "runs").glob("small/profiles/*"))
    mended = study_of(tmp_path, chat_template=CHATML)
    assert run(["fetch", str(mended)]) == 0


def test_train_says_what_is_owed_and_asks_no_hub(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_of(tmp_path)
    bench = bench_of(file)
    bench.store.put(Unit(bench.keys.dataset(), {"files": {}}, made_from={}))
    assert run(["train", str(file)]) == 1
    assert (
        said(capsys) == f"cbt-ray: the weights of {MODEL} at main are owed; run first: cbt-ray "
        f"fetch {file}"
    )
    assert hub.calls == 0


def test_a_gguf_that_is_made_needs_no_weights(hub: HubServer, tmp_path: Path) -> None:
    file = study_of(tmp_path)
    bench = bench_of(file)
    for made in bench.keys.models:
        bench.store.put(Unit(bench.keys.model(made), {}, made_from={}))
    assert run(["fetch", str(file)]) == 0
    assert hub.calls == 0


REFUSED: dict[str, tuple[dict[str, Any], Faults, int, str, str]] = {
    "no such model": ({"start": "lab/none"}, Faults(), 2, "start", "expected a hub id: "),
    "no such model to compare with": (
        {"compare": "lab/none"},
        Faults(),
        2,
        "compare",
        "expected a hub id: ",
    ),
    "no such revision": ({"revision": "v2"}, Faults(), 2, "revision", "has no 'v2'"),
    "no such revision to compare with": (
        {"compare": OTHER, "compare_revision": "v2"},
        Faults(),
        2,
        "compare_revision",
        "has no 'v2'",
    ),
    "gated": (
        {},
        Faults(gated={MODEL}, token=TOKEN),
        2,
        "start",
        f"HF_TOKEN .* https://huggingface.co/{MODEL}",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_its_field(
    name: str, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, hub.faults, code, field, expected = REFUSED[name]
    file = study_of(tmp_path, **recipe)
    assert run(["fetch", str(file)]) == code
    line = said(capsys)
    assert line.startswith(f"cbt-ray: {file}: models.small.recipe.{field}: ")
    assert re.search(expected, line)
    assert run(["study", str(file), "--inline"]) == code  # before a course is written
    assert not list((tmp_path / "runs").glob("small/*"))


def test_a_backend_that_cannot_run_here_is_refused_where_training_is_and_fetched_for(
    hub: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "GPU", ())
    file = study_of(tmp_path, backend="unsloth")
    assert run(["study", str(file), "--inline"]) == 2
    assert said(capsys).startswith(
        f"cbt-ray: {file}: models.small.recipe.backend: backend unsloth: expected a CUDA GPU"
    )
    assert not list((tmp_path / "runs").glob("small/*"))
    assert run(["fetch", str(file)]) == 0  # training may be another machine's


def test_a_moved_branch_names_its_field_and_both_commits(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, before = study_of(tmp_path), hub.commit(MODEL)
    hub.faults.refuse.add("model.safetensors")
    assert run(["fetch", str(file)]) == 1
    capsys.readouterr()
    (hub.folder / MODEL / "config.json").write_text("{}")
    assert run(["fetch", str(file)]) == 2
    line = said(capsys)
    assert line.startswith(f"cbt-ray: {file}: models.small.recipe.revision: ")
    assert before in line
    assert hub.commit(MODEL) in line


def test_a_hub_out_of_reach_leaves_the_weights_owed(
    hub: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert run(["fetch", str(study_of(tmp_path))]) == 1
    assert "out of reach" in said(capsys)


def test_unknown_model_of_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fetch", str(study_of(tmp_path)), "--model", "qwen"]) == 2
    assert "--model: unknown model 'qwen', expected one of ['small']" in said(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(file.stem for file in STUDIES.glob("*.yaml")))
@pytest.mark.parametrize("command", ["plan", "status"])
def test_each_study_of_the_project_is_planned_and_shown_without_a_network(
    name: str, command: str, tmp_path: Path
) -> None:
    assert run([command, str(STUDIES / f"{name}.yaml"), "--set", f"store={tmp_path}"]) == 0


def test_weights_are_no_units_of_a_study_of_that_name(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_of(tmp_path)
    assert run(["fetch", str(file)]) == 0
    capsys.readouterr()
    assert run(["status", str(file), "--set", "study=weights"]) == 0
    out = capsys.readouterr().out
    assert "other units" not in out
    rows = [line.split() for line in out.splitlines()[2:]]
    assert {row[0]: row[1] for row in rows if row[1].isdigit()}.items() == {
        (stage.value, "0") for stage in Stage if stage is not Stage.PAIRS
    }


# ---- an arm's GGUF as a file ---------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Key]:
    """A study whose tuned model was made."""
    file = study_of(tmp_path)
    bench = bench_of(file)
    key = bench.keys.model(Checkpoint("small", True))
    (tmp_path / "made.gguf").write_bytes(load_gguf_path(RECIPE["start"]).read_bytes()[:300_000])
    blob = bench.store.put_blob(key, "small-tuned.gguf", tmp_path / "made.gguf")
    bench.store.put(Unit(key, {"gguf": blob.to_json()}, made_from={}))
    return file, key


def test_weights_of_an_arm_come_to_a_file(
    made: tuple[Path, Key], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "served" / "model.gguf"
    for _ in range(2):
        assert run(["weights", str(made[0]), "--arm", "tuned", "--to", str(target)]) == 0
        assert sha256_of(target) == sha256_of(tmp_path / "made.gguf")
        assert sha256_of(target) in capsys.readouterr().out


def test_damaged_weights_of_an_arm_are_not_used(made: tuple[Path, Key], tmp_path: Path) -> None:
    file, key = made
    store = bench_of(file).store
    (path,) = store.list("small/blobs/model/")
    store.replace(path, b"GGUF")
    assert run(["weights", str(file), "--arm", "tuned", "--to", str(tmp_path / "model.gguf")]) == 1
    assert not (tmp_path / "model.gguf").exists()
    assert store.get(key) is None


@pytest.mark.parametrize(
    ("arm", "code", "expected"),
    [
        ("best", 2, "--arm: unknown arm 'best', expected one of ['plain', 'tuned', 'served']"),
        ("plain", 1, "small/model/small-instruct"),
    ],
)
def test_weights_that_cannot_be_had(
    made: tuple[Path, Key],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arm: str,
    code: int,
    expected: str,
) -> None:
    assert (
        run(["weights", str(made[0]), "--arm", arm, "--to", str(tmp_path / "model.gguf")]) == code
    )
    assert expected in said(capsys)


def test_weights_of_an_arm_that_another_server_answers_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_of(tmp_path)
    changed = ["--set", "arms=[{name: a, endpoint: script}]", "--set", "analysis.contrasts=[]"]
    assert run(["weights", str(file), "--arm", "a", "--to", str(tmp_path / "x"), *changed]) == 2
    assert "--arm: expected an arm whose GGUF the study exports" in said(capsys)
