"""From a dataset to a GGUF that llama.cpp runs, and what its checks catch."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.store.folder import FolderStore
from cbt_ray.store.store import sha256_of
from cbt_ray.study.model import Dataset
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend.job import MadeStep
from cbt_ray.training.checkpoint import StoreCheckpoints, clear_checkpoints
from cbt_ray.training.dataset import Splits, build, write
from cbt_ray.training.export.front import Front
from cbt_ray.training.export.gguf import CONVERTER, convert
from cbt_ray.training.export.merge import merge
from cbt_ray.training.gate.heard import LIMIT
from cbt_ray.training.gate.prompts import limit_of, prompts_of
from cbt_ray.training.made import REWRITES, Adapter, Made, export_compared, export_tuned, judge
from cbt_ray.training.mask import IGNORED, Masked, Window
from cbt_ray.training.preference import Pair
from cbt_ray.training.start.base import Base, open_base
from cbt_ray.training.tuned import Tuned, _masked, _measured, tune
from cbt_ray.unit import Key, Stage
from tests.therapy.spoken import WORDS
from tests.training.sessions import by_patient, course

pytestmark = [pytest.mark.train, pytest.mark.llama]
CHECKS = {"loads", "merge", "template", "special", "tokens", "greedy", "stops", "leaks"}
KEY = Key("study", Stage.ADAPTER, "smollm2-tuned", "0" * 16)


@pytest.fixture(scope="module")
def model(speaking: Path, work: Path) -> Base:
    """The demo and the gate's tests tune the embedded one; here it is about what is made of it."""
    return open_base(str(speaking), work)


@pytest.fixture(scope="module")
def own(speaking: Path) -> Recipe:
    """Few steps and a high rate."""
    more = {
        "licence": "Apache-2.0",
        "learning_rate": 1e-3,
        "warmup_steps": 1,
        "batch": 1,
        "accumulation": 1,
        "gate_prompts": 6,
    }
    return Recipe.model_validate(
        {"start": str(speaking), "compare": str(speaking), "max_steps": 6, "max_length": 224} | more
    )


@pytest.fixture(scope="module")
def store(work: Path) -> FolderStore:
    return FolderStore(work / "store")


@pytest.fixture(scope="module")
def tuned(own: Recipe, work: Path, splits: Splits, store: FolderStore) -> Tuned:
    checkpoints = StoreCheckpoints(store, KEY, work / "checkpoints", "fedcba9876543210")
    steps: list[MadeStep] = []
    made = tune(own, write(splits, work / "dataset"), work, checkpoints, steps.append, threads=2)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    return made


@pytest.fixture(scope="module")
def adapter(tuned: Tuned) -> Adapter:
    """What the export needs of a training."""
    return Adapter(tuned.adapter, tuned.base.digest, tuned.answer_tokens)


@pytest.fixture(scope="module")
def made(own: Recipe, work: Path, adapter: Adapter) -> Made:
    """Made where nothing is there that trains."""
    front = Front("Llama-study-tuned")
    with pytest.MonkeyPatch.context() as patch:
        for library in ("unsloth", "trl", "peft", "bitsandbytes"):
            patch.setitem(sys.modules, library, None)
        return export_tuned(own, adapter, work / "dataset", work, threads=2, front=front)


def test_tuning_ends_with_a_gguf_that_passes_every_check(tuned: Tuned, made: Made) -> None:
    exported = made.exported
    assert exported.gguf.sha256 == sha256_of(exported.gguf.path) != exported.f16.sha256
    first, *_, last = tuned.metrics["measured"]
    assert all(last["loss"][split] < first["loss"][split] for split in first["loss"])
    assert made.verdict.failed == ()
    assert {check.name for check in made.verdict.checks if check.passed} == CHECKS
    assert made.metrics["gate"] == made.verdict.to_json()["checks"]


def test_an_adapter_of_other_weights_is_not_merged(
    own: Recipe, work: Path, adapter: Adapter
) -> None:
    other = replace(adapter, base_sha256="0" * 64)
    with pytest.raises(InputError, match="start: expected the weights that the adapter was tr"):
        export_tuned(own, other, work / "dataset", work)


def test_metrics_say_what_was_done(tuned: Tuned, made: Made, model: Base) -> None:
    metrics = tuned.metrics
    assert json.loads(json.dumps(metrics)) == metrics
    assert metrics["examples"] == {"train": 6, "held_out": 3, "test": 3}
    assert set(metrics["measured_windows"]) == {"train", "held_out", "test"}
    assert len(metrics["loss"]) == metrics["steps"] == 6
    assert 0 < metrics["supervised_tokens"] < metrics["tokens"]
    assert metrics["longest"] <= 224
    assert metrics["base_sha256"] == model.digest
    assert {name for name, version in metrics["versions"].items() if not version} <= {"unsloth"}
    assert set(metrics["parts_seconds"]) == {"base", "mask", "tokens", "train"}
    assert json.loads(json.dumps(made.metrics)) == made.metrics
    assert made.metrics["base_sha256"] == model.digest
    exporting = {"base", "merge", "convert", "quantize", "check"}
    assert set(made.metrics["parts_seconds"]) == exporting


def test_checkpoints_stay_until_they_are_cleared(
    tuned: Tuned, store: FolderStore, work: Path
) -> None:
    checkpoints = StoreCheckpoints(store, KEY, work / "again", "fedcba9876543210")
    found = checkpoints.latest()
    assert found is not None
    assert found[0] == 6 == tuned.metrics["steps"]
    clear_checkpoints(store, KEY)
    assert list(store.list("study/")) == []


def test_the_compared_model_differs_in_its_weights_only(
    made: Made, own: Recipe, model: Base, work: Path
) -> None:
    from gguf import GGUFReader

    compared = export_compared(own, work, threads=2)
    assert compared.exported.gguf.sha256 != made.exported.gguf.sha256
    assert compared.metrics["base_sha256"] == model.digest
    assert compared.verdict.failed == ()
    one, other = GGUFReader(compared.exported.gguf.path), GGUFReader(made.exported.gguf.path)
    said, says = (
        {name: field.contents() for name, field in reader.fields.items()} for reader in (one, other)
    )
    apart = {name for name in said.keys() | says.keys() if said.get(name) != says.get(name)}
    assert (
        "general.name"
        in apart
        <= {f"general.{name}" for name in ("name", "basename", "finetune", "size_label", "version")}
    )
    assert says["general.name"] == "Llama-study-tuned"
    described = [
        [(tensor.name, tensor.tensor_type, list(tensor.shape)) for tensor in reader.tensors]
        for reader in (one, other)
    ]
    assert described[0] == described[1]


@pytest.mark.parametrize("format_", ["session", "turn", "paper"])
def test_the_test_split_of_every_format_is_measured_and_trained_on_by_none(
    own: Recipe, model: Base, format_: str
) -> None:
    sessions = [session for patient in "abcdef" for session in course(patient, 2)]
    settings = Dataset.model_validate({"format": format_, "held_out": 0.2, "test": 0.3})
    splits = build(by_patient(sessions), settings, lambda _session: "You listen.", WORDS)
    recipe = own.model_copy(update={"max_length": 2048})
    train = _masked(splits.train, model, recipe)
    found = _measured(splits, model, recipe, train)
    assert found["test"] == _masked(splits.test, model, recipe).windows != []
    assert found["held_out"] == _masked(splits.held_out, model, recipe).windows != []
    trained = [window.input_ids for window in train.windows]
    assert all(window.input_ids in trained for window in found["train"])
    unseen = [*found["test"], *found["held_out"]]
    assert not [window for window in unseen if window.input_ids in trained]


@pytest.mark.parametrize(("pairs", "measured"), [("made:own", True), ("pairs.jsonl", False)])
def test_the_training_set_of_pairs_is_the_text_they_were_made_of(
    own: Recipe, model: Base, splits: Splits, pairs: str, measured: bool
) -> None:
    recipe = own.model_copy(update={"method": "orpo", "preferences": pairs})
    found = _measured(splits, model, recipe, Masked([]))
    assert set(found) == {"held_out", "test"} | ({"train"} if measured else set())


def test_a_judgement_in_a_process_of_its_own_is_the_same(
    tuned: Tuned, made: Made, model: Base, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind Unsloth, which leaves this process with other classes than transformers'."""
    asked = (model, tuned.adapter, made.exported, prompts_of(splits, model, 2), 2)
    here = judge(*asked)
    monkeypatch.setattr("cbt_ray.training.gate.gate.hear", lambda *_, **__: pytest.fail("here"))
    monkeypatch.setitem(sys.modules, REWRITES, sys)
    assert judge(*asked) == here


def test_an_answer_may_be_as_long_as_those_of_the_dataset(splits: Splits, base: Base) -> None:
    assert limit_of(splits, [], base) == LIMIT
    turn = " ".join(["word"] * 400)
    long = [
        {**one, "messages": [{**said, "content": turn} for said in one["messages"]]}
        for one in splits.train
    ]
    assert 400 <= limit_of(replace(splits, train=long), [], base) <= 402
    paper = [{"patient": "a", "session": 1, "instruction": "", "history": [], "response": turn}]
    assert 400 <= limit_of(replace(splits, train=paper), [], base) <= 402
    pair = Pair(
        Window("", 1, [1] * 300, [IGNORED] * 50 + [1] * 250),
        Window("", 1, [1] * 400, [IGNORED] * 50 + [1] * 350),
    )
    assert limit_of(splits, [pair], base) == 250


def test_prompts_are_real_and_the_short_ones(splits: Splits, base: Base) -> None:
    prompts = prompts_of(splits, base, 20)
    assert len(prompts) == 20
    assert len(prompts_of(splits, base, 3)) == 3
    said = {
        message["content"] for one in splits.held_out + splits.train for message in one["messages"]
    }
    assert all(
        not isinstance(one, str) and one[-1].role == "user" and one[-1].content in said
        for one in prompts
    )
    turns = Counter(len(one) for one in prompts)
    assert len(turns) > 1, "not only openings"
    goes_on = sum(list(two[: len(one)]) == list(one) for one, two in pairwise(prompts))
    assert goes_on > len(prompts) / 3, "what llama.cpp has read of one is not read again"


def test_a_folder_that_cannot_be_converted_is_one_line(tiny: Base, tmp_path: Path) -> None:
    folder = merge(tiny, None, tmp_path / "merged")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}))
    with pytest.raises(
        InputError, match=r"expected a model that llama.cpp's converter takes \(.+\)"
    ) as caught:
        convert(folder, tmp_path / "x.gguf", "q8_0", 1)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*x.gguf"))


def test_an_absent_converter_is_named(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONVERTER, str(tmp_path / "nowhere.py"))
    with pytest.raises(
        InputError, match=rf"nowhere.py: expected llama.cpp's converter; .*{CONVERTER}"
    ):
        convert(tiny.folder, tmp_path / "x.gguf", "q8_0", 1)
