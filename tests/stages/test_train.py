"""The train stage on a tiny model: what it hands on, and what becomes of a model that fails
its gate.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import run
from cbt_ray.llm.gguf_file import gguf_header
from cbt_ray.stages.export import with_upload
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.study.model import Checkpoint
from cbt_ray.training.export import merge as merging
from cbt_ray.training.gate.expected import Expected
from cbt_ray.training.gate.verdict import Verdict
from cbt_ray.training.shard import write_f16
from cbt_ray.unit import Stage, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages import scripted
from tests.training.pieces import FIRST, write_model, write_tokenizer

pytestmark = [pytest.mark.train, pytest.mark.llama]
NAME = "rehearsal-first-tuned"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, speaking: Path) -> Path:
    """The file of a study whose courses and dataset are there."""
    folder = tmp_path_factory.mktemp("train")
    document = scripted.study_document(folder / "store", **scripted.tuned(speaking, "first"))
    file = scripted.write_study(folder, document)
    for command in ("generate", "dataset"):
        assert run([command, str(file), *(["--inline"] if command == "generate" else [])]) == 0
    return file


def unit_of(study: Path, stage: Stage = Stage.MODEL) -> Unit:
    (unit,) = scripted.units(study.parent / "store", stage).values()
    return unit


def test_a_training_hands_its_adapter_over_and_names_what_comes_next(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(study)]) == 0
    assert capsys.readouterr().out.endswith(f"train: next: cbt-ray export {study}\n")
    store, unit = FolderStore(study.parent / "store"), unit_of(study, Stage.ADAPTER)
    assert set(unit.content["adapter"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert not list(store.list("rehearsal/checkpoints/"))
    assert not list(store.list("rehearsal/model"))


def test_a_model_that_fails_its_gate_is_kept_and_judged_again_without_training(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs after the test above."""
    store, adapter = FolderStore(study.parent / "store"), unit_of(study, Stage.ADAPTER)
    rounded = lambda file, shapes, pieces: write_f16(  # noqa: E731
        file, shapes, lambda name: map(_coarse, pieces(name))
    )
    monkeypatch.setattr(merging, "write_f16", rounded)
    assert run(["export", str(study)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        "models.first: the tuned model failed its parity gate (merge: expected a mean divergence "
        "of at most 1e-05" in said
    )
    failed = unit_of(study)
    assert (failed.status, failed.reason) == (Status.REJECTED, "parity: merge")
    assert all(
        store.size(blob["path"]) == blob["size"] for blob in failed.content["files"].values()
    )
    assert not list(store.list("rehearsal/models/"))
    assert said.endswith(f"again: cbt-ray export {study} --model first --retry-rejected")
    assert run(["export", str(study)]) == 2, "it is not owed, and nothing is made again"

    monkeypatch.undo()
    assert run(["export", str(study), "--retry-rejected"]) == 0
    assert unit_of(study).status is Status.DONE
    assert unit_of(study, Stage.ADAPTER).to_bytes() == adapter.to_bytes()


def _coarse(piece: Any) -> Any:
    """In three bits of mantissa: of a model this small, bf16 loses too little to be told."""
    import torch

    return piece.to(torch.float8_e4m3fn).to(piece.dtype)


def test_what_is_handed_on_is_whole_and_named(study: Path, tmp_path: Path) -> None:
    """Runs after the test above, whose model it reads."""
    store, unit = FolderStore(study.parent / "store"), unit_of(study)
    files, place = unit.content["files"], f"rehearsal/models/{NAME}"
    latest = json.loads(store.read(f"{place}/latest.json") or b"")
    assert (latest["name"], latest["unit"], latest["files"]) == (NAME, str(unit.key), files)
    assert {
        f"{NAME}.gguf",
        "safetensors/model.safetensors",
        "safetensors/config.json",
        "licences/LICENSE",
    } <= set(files)
    (tmp_path / "all").mkdir()
    assert run(["weights", str(study), "--arm", "first-tuned", "--to", str(tmp_path / "all")]) == 0
    sums = [
        line.split("  ")
        for line in (store.read(f"{place}/SHA256SUMS") or b"").decode().splitlines()
    ]
    assert {name for _, name in sums} == {*files, "Modelfile"}
    for sha256, name in sums:
        assert hashlib.sha256((tmp_path / "all" / name).read_bytes()).hexdigest() == sha256
    adapter_unit = unit_of(study, Stage.ADAPTER)
    for name, blob in adapter_unit.content["adapter"].items():
        data = (tmp_path / "all" / "adapter" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == blob["sha256"]
    card = (tmp_path / "all" / "README.md").read_text()
    assert all(f"| {check['name']} | " in card for check in unit.content["metrics"]["gate"])
    for point in adapter_unit.content["metrics"]["measured"]:
        losses = " | ".join(f"{loss:.6g}" for loss in point["loss"].values())
        assert f"{point['epoch']:g}" in card
        assert f" | {losses} | " in card
    assert "must not be used to treat" in card
    in_ollama = (tmp_path / "all" / "Modelfile").read_text()
    for line in (f"FROM ./{NAME}.gguf", "PARAMETER num_ctx "):
        assert line in in_ollama, line
    assert isinstance(unit.content["adds_bos"], bool)
    adapter = (tmp_path / "all" / "adapter" / "README.md").read_text()
    assert "library_name: peft" in adapter
    said = gguf_header(tmp_path / "all" / f"{NAME}.gguf").metadata
    assert said["general.license"] == "apache-2.0"
    start = load_study(study).models["first"].recipe.start
    assert said["general.base_model.0.name"] == Path(start).name, "and no folder of this machine"
    assert str(study.parent) not in card + json.dumps([unit.content, adapter_unit.content])


def test_what_a_server_has_to_say_is_kept(study: Path) -> None:
    """Runs behind the first test."""
    kept = [Expected.from_json(one) for one in unit_of(study).content["reference"]]
    continued = [one for one in kept if one.said]
    assert len(continued) == scripted.RECIPE["gate_prompts"]
    assert len(kept) == len(continued) + 1, "and the gate's own, which is only tokenized"
    for one in continued:
        assert one.messages is not None
        assert one.messages[-1].role == "user"
        assert len(one.said) == len(one.best) > 0
        for row in one.best:
            nats = list(row.values())
            assert nats == sorted(nats, reverse=True)
            assert 0 < sum(map(math.exp, nats)) <= 1.001


def test_latest_moves_also_where_a_run_was_killed_before_it_did(study: Path) -> None:
    store, place = FolderStore(study.parent / "store"), f"rehearsal/models/{NAME}"
    before = {path: store.read(path) for path in store.list(f"{place}/")}
    store.delete(f"{place}/latest.json")
    store.replace(f"{place}/README.md", b"of another version")
    assert run(["export", str(study)]) == 0
    assert {path: store.read(path) for path in store.list(f"{place}/")} == before


def test_a_corrected_licence_renames_what_people_are_given(study: Path, tmp_path: Path) -> None:
    """Nothing is made anew: card, Modelfile and list of files say the name that the licence asks
    for.
    """
    document = yaml.safe_load(study.read_text())
    document["endpoints"]["script"]["licence"] = "Llama 3.1 Community License"
    corrected = scripted.write_study(tmp_path, document)
    before = unit_of(study)
    assert run(["export", str(corrected)]) == 0
    assert unit_of(study).to_bytes() == before.to_bytes()
    (tmp_path / "all").mkdir()
    assert (
        run(["weights", str(corrected), "--arm", "first-tuned", "--to", str(tmp_path / "all")]) == 0
    )
    latest = json.loads((tmp_path / "all" / "latest.json").read_text())
    name = f"Llama-{NAME}"
    assert (latest["name"], f"{name}.gguf" in latest["files"]) == (name, True)
    assert f"FROM ./{name}.gguf" in (tmp_path / "all" / "Modelfile").read_text()
    assert {file.name for file in (tmp_path / "all").glob("*.gguf")} == {f"{name}.gguf"}


def test_a_tokenizer_that_llama_cpp_runs_otherwise_ends_it_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rejected as one that failed behind its training, so a study goes on with its other arms."""
    (tmp_path / "model").mkdir()
    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    write_model(tmp_path / "model", {**shape, "max_position_embeddings": 8192})
    write_tokenizer(tmp_path / "model", None, FIRST)
    own = {"start": str(tmp_path / "model"), "compare": str(tmp_path / "model"), "max_length": 8000}
    models = {"first": {"recipe": {**scripted.RECIPE, **own}}}
    document = scripted.study_document(
        tmp_path / "store", **scripted.ONE_TUNED, models=models, dataset={"format": "paper"}
    )
    file = scripted.write_study(tmp_path, document)
    for command in ("generate", "dataset"):
        assert run([command, str(file), *(["--inline"] if command == "generate" else [])]) == 0
    for command in ("train", "train", "export"):
        assert run([command, str(file)]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert (
            "models.first: the tuned model failed its parity gate (tokens: expected llama.cpp "
            "tokenizes every prompt" in said
        )
        assert said.endswith(
            "it was not trained, since no training would change that: name another base, or a "
            "revision of it"
        )
    failed = unit_of(file, Stage.ADAPTER)
    assert (failed.status, failed.reason, set(failed.content)) == (
        Status.REJECTED,
        "parity: tokens",
        {"metrics"},
    )
    assert (
        run(["weights", str(file), "--arm", "first-tuned", "--to", str(tmp_path / "x.gguf")]) == 1
    )
    assert run(["status", str(file)]) == 0


def test_live_figures_stay_beside_the_unit(study: Path) -> None:
    """Runs behind the first test."""
    store, key = FolderStore(study.parent / "store"), unit_of(study, Stage.ADAPTER).key
    lines = [
        json.loads(line)
        for line in (store.read(f"rehearsal/training/{key.id}/{key.h16}.jsonl") or b"").splitlines()
    ]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(line["tokens_per_second"] > 0 and line["memory_gib"] > 0 for line in lines)
    assert [line["learning_rate"] for line in lines] == [scripted.RECIPE["learning_rate"]] * 8


def test_a_file_that_is_cut_in_the_store_fails_the_check_of_the_upload(
    study: Path, tmp_path: Path
) -> None:
    bench = Bench(load_study(study), Silent())
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" * 1000)
    blobs = [
        bench.store.put_blob(bench.keys.model(Checkpoint("first", True)), name, file)
        for name in ("one.gguf", "other.gguf")
    ]
    assert with_upload(bench, Verdict(()), blobs).failed == ()
    (study.parent / "store" / blobs[1].path).write_bytes(b"GGUF" * 900)
    verdict = with_upload(bench, Verdict(()), blobs)
    assert verdict.failed == ("upload",)
    assert verdict.checks[-1].measured["lost"] == [blobs[1].path]
