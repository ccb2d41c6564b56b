"""Weights from a hub: what is fetched, resumed, refused and stored, against a hub on this
machine.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store import Store, open_store
from cbt_ray.store.store import sha256_of
from cbt_ray.training.start import hub as hub_module
from cbt_ray.training.start.base import Base, open_base
from cbt_ray.training.start.hub import Hub, WrongRevision
from cbt_ray.training.start.weights import Weights, complete, fetch_weights, link
from cbt_ray.work.workshop import local_file
from tests.s3_server import free_ports
from tests.training.start.hub_server import SIGNED, Faults, HubServer, hub_server

pytestmark = pytest.mark.slow

MODEL = "lab/small"
FETCHED = [
    "LICENSE",
    "USE_POLICY.md",
    "chat_template.jinja",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
]
LEFT = [
    "README.md",
    "consolidated.safetensors",
    "model.fp16.safetensors",
    "original/params.json",
    "pytorch_model.bin",
    ".x.json",
]
SIZE = 300_000
TOKEN = "hf_SeCrEtSeCrEtSeCrEt"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "WAIT_S", 0.0)
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", False
    )  # tests of training settle it


def write_model(folder: Path, seed: int = 1) -> Path:
    """A model of random bytes, and files beside it that nobody needs."""
    draw = random.Random(seed)
    for name in FETCHED + LEFT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(draw.randbytes(SIZE if name == "model.safetensors" else 5000))
    (folder / "config.json").write_text(json.dumps({"seed": seed}))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    write_model(tmp_path / "hub" / MODEL)
    with hub_server(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def fetch(
    store: Store, hub: HubServer, tmp_path: Path, revision: str = "main", token: str | None = None
) -> Weights:
    return fetch_weights(store, Hub(hub.url, token), MODEL, revision, tmp_path / "arriving")


def names(hub: HubServer) -> list[str]:
    return [one.file for one in hub.asked]


def test_a_model_is_fetched_and_a_second_time_nobody_is_asked(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    weights = fetch(store, hub, tmp_path)
    assert sorted(weights.files) == sorted(names(hub)) == FETCHED
    assert names(hub)[-1] == "model.safetensors"  # what is refused is refused before the large ones
    commit, source = hub.commit(MODEL), hub.folder / MODEL
    assert weights.source == {
        "hub": MODEL,
        "revision": "main",
        "commit": commit,
        "licence": "apache-2.0",
    }
    folder = link(weights, tmp_path / "linked", lambda blob: local_file(store, blob))
    assert {file.name: sha256_of(file) for file in folder.iterdir()} == {
        name: sha256_of(source / name) for name in FETCHED
    }
    assert not (tmp_path / "arriving").exists()
    calls = hub.calls
    assert fetch(store, hub, tmp_path) == weights == complete(store, MODEL, "main")
    assert hub.calls == calls
    documents = sorted(path for path in store.list("weights/") if "/blobs/" not in path)
    assert documents == ["weights/lab--small/main.commit", "weights/lab--small/main.json"]
    assert all("telemetry" not in agent and "torch" not in agent for agent in hub.agents)


def test_a_transfer_that_is_cut_goes_on_at_once(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    hub.faults.cut["model.safetensors"] = 100_000
    weights = fetch(store, hub, tmp_path)
    assert [one.begin for one in hub.asked if one.file == "model.safetensors"] == [
        0,
        100_000,
        200_000,
    ]
    assert weights.files["model.safetensors"].sha256 == sha256_of(
        hub.folder / MODEL / "model.safetensors"
    )


def test_an_interrupted_fetch_goes_on_where_it_ended(
    hub: HubServer, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "ATTEMPTS", 1)
    hub.faults.cut["model.safetensors"] = 100_000
    with pytest.raises(Infrastructure, match=MODEL):
        fetch(store, hub, tmp_path)
    assert complete(store, MODEL, "main") is None
    hub.faults.cut.clear()
    hub.asked.clear()
    weights = fetch(store, hub, tmp_path)
    assert [(one.file, one.begin) for one in hub.asked] == [
        ("model.safetensors", 100_000)
    ]  # the small ones are in the store
    assert sorted(weights.files) == FETCHED


def test_a_server_that_ignores_the_range_is_read_from_the_beginning(
    hub: HubServer, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults.cut["model.safetensors"] = 100_000
    with monkeypatch.context() as patch:
        patch.setattr(hub_module, "ATTEMPTS", 1)
        with pytest.raises(Infrastructure):
            fetch(store, hub, tmp_path)
    hub.faults = Faults(ignores_range=True)
    fetch(store, hub, tmp_path)
    assert complete(store, MODEL, "main")


def test_an_upload_that_fails_keeps_what_was_downloaded(
    hub: HubServer, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: Path, path: str) -> None:
        raise Infrastructure(f"{path}: no space left", "store")

    with monkeypatch.context() as patch:
        patch.setattr(store, "upload", full)
        with pytest.raises(Infrastructure, match="no space left"):
            fetch(store, hub, tmp_path)
    first = names(hub)
    fetch(store, hub, tmp_path)
    assert sorted(names(hub)) == FETCHED
    assert len(first) == 1


def test_a_branch_that_moved_since_its_fetch_began_is_refused(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    before = hub.commit(MODEL)
    hub.faults.refuse.add("model.safetensors")
    with pytest.raises(Infrastructure, match="503"):
        fetch(store, hub, tmp_path)
    hub.faults.refuse.clear()
    (hub.folder / MODEL / "config.json").write_text('{"seed": 2}')
    with pytest.raises(WrongRevision, match=f"{before}.*{hub.commit(MODEL)}") as caught:
        fetch(store, hub, tmp_path)
    assert "\n" not in str(caught.value)
    assert complete(store, MODEL, "main") is None
    hub.asked.clear()
    assert fetch(store, hub, tmp_path, hub.commit(MODEL)).commit == hub.commit(MODEL)
    assert names(hub) == [
        "config.json",
        "model.safetensors",
    ]  # files that both commits have are shared


def test_a_branch_that_moved_after_its_fetch_stays_what_it_was(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    weights = fetch(store, hub, tmp_path)
    (hub.folder / MODEL / "config.json").write_text('{"seed": 2}')
    assert fetch(store, hub, tmp_path) == weights


def test_a_file_that_the_store_lost_is_fetched_again(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    weights = fetch(store, hub, tmp_path)
    store.delete(weights.files["model.safetensors"].path)
    assert complete(store, MODEL, "main") is None
    hub.asked.clear()
    assert fetch(store, hub, tmp_path) == weights == complete(store, MODEL, "main")
    assert names(hub) == ["model.safetensors"]


def test_a_damaged_file_is_never_used_and_fetched_again(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    weights = fetch(store, hub, tmp_path)
    store.replace(weights.files["model.safetensors"].path, bytes(SIZE))
    with pytest.raises(Infrastructure, match="SHA-256 differs"):
        link(weights, tmp_path / "linked", lambda blob: local_file(store, blob))
    fetch(store, hub, tmp_path)
    link(weights, tmp_path / "linked", lambda blob: local_file(store, blob))


def test_a_torn_document_is_moved_aside_and_made_again(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    weights = fetch(store, hub, tmp_path)
    path = "weights/lab--small/main.json"
    for harm in (b"{", b"[]", (store.read(path) or b"").replace(b"apache", b"apachf")):
        store.replace(path, harm)
        assert complete(store, MODEL, "main") is None
        hub.asked.clear()
        assert fetch(store, hub, tmp_path) == weights
        assert names(hub) == []


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_what_the_hub_describes_is_refused_and_not_stored(
    hub: HubServer, store: Store, tmp_path: Path, file: str
) -> None:
    hub.faults.wrong.add(file)
    with pytest.raises(Infrastructure, match=rf"{file}.*checksum"):
        fetch(store, hub, tmp_path)
    assert not [path for path in store.list("weights/") if path.endswith(f"-{file}")]
    hub.faults.wrong.clear()
    fetch(store, hub, tmp_path)
    assert complete(store, MODEL, "main")


def test_a_hub_that_fails_for_a_moment_is_asked_again(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    hub.faults.broken = 2
    fetch(store, hub, tmp_path)
    assert complete(store, MODEL, "main")


def secretless(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    assert "\n" not in str(error)
    for secret in (TOKEN, SIGNED):
        assert secret not in str(error) + caplog.text
    return str(error)


def test_a_hub_out_of_reach_is_infrastructure(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_ports(1)[0]
    with caplog.at_level(logging.DEBUG), pytest.raises(Infrastructure) as caught:
        fetch_weights(
            store, Hub(f"http://127.0.0.1:{port}", TOKEN), MODEL, "main", tmp_path / "arriving"
        )
    assert (
        secretless(caught.value, caplog)
        == f"{MODEL}: 127.0.0.1:{port} is out of reach (ConnectError)"
    )
    assert list(store.list("")) == []


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("hf_other", 403)])
def test_a_gated_model_asks_for_a_token_and_the_consent(
    hub: HubServer,
    store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    token: str | None,
    status: int,
) -> None:
    hub.faults = Faults(gated={MODEL}, token=TOKEN)
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as caught:
        fetch(store, hub, tmp_path, token=token)
    said = secretless(caught.value, caplog)
    assert "HF_TOKEN" in said
    assert f"https://huggingface.co/{MODEL}" in said
    assert f"({status})" in said
    assert "hf_other" not in said + caplog.text
    assert hub.asked == []
    fetch(store, hub, tmp_path, token=TOKEN)


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 404), (None, 401)])
def test_an_unknown_model_is_told(
    hub: HubServer,
    store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    token: str | None,
    status: int,
) -> None:
    hub.faults = Faults(token=TOKEN)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(InputError, match=f"expected a hub id: .* no lab/none .{status}") as caught,
    ):
        Hub(hub.url, token).find("lab/none", "main")
    assert "./lab/none" in secretless(caught.value, caplog)


def test_an_unknown_revision_is_told(hub: HubServer) -> None:
    with pytest.raises(
        WrongRevision, match=r"expected a commit, tag or branch of lab/small, .* has no 'v2'"
    ):
        Hub(hub.url).find(MODEL, "v2")


@pytest.mark.parametrize(
    "missing", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_model_of_another_format_is_refused(hub: HubServer, missing: str) -> None:
    (hub.folder / MODEL / missing).unlink()
    with pytest.raises(
        InputError, match=f"{MODEL}: expected a model in the format of transformers.*{missing}"
    ):
        Hub(hub.url).find(MODEL, "main")


def test_weights_that_nothing_can_be_merged_into_are_refused_behind_their_settings(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    (hub.folder / MODEL / "config.json").write_text(
        json.dumps({"quantization_config": {"quant_method": "gptq"}})
    )
    for _ in range(2):
        with pytest.raises(
            InputError,
            match=r"lab/small: config\.json: quantization_config: expected none, or 4 bit by bits",
        ):
            fetch(store, hub, tmp_path)
    assert "model.safetensors" not in names(hub)


def test_a_shard_that_the_hub_lacks_is_missed_before_the_others_are_fetched(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    folder, shards = (
        hub.folder / MODEL,
        [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)],
    )
    (folder / "model.safetensors").rename(folder / shards[0])
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}))
    with pytest.raises(
        InputError, match=rf"lab/small: {index.name}: weight_map: expected the file '{shards[1]}'"
    ):
        fetch(store, hub, tmp_path)
    assert shards[0] not in names(hub)


def test_a_fetch_that_knew_no_licences_is_repaired_as_it_was(
    hub: HubServer, store: Store, tmp_path: Path
) -> None:
    weights = fetch(store, hub, tmp_path)
    older = replace(
        weights, files={name: blob for name, blob in weights.files.items() if name in FETCHED[2:]}
    )
    store.replace("weights/lab--small/main.json", older.to_bytes())
    store.delete(weights.files["tokenizer.json"].path)
    assert fetch(store, hub, tmp_path) == older


def test_of_shards_the_index_decides(hub: HubServer) -> None:
    folder = hub.folder / MODEL
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    with pytest.raises(InputError, match=r"it has no model\.safetensors\.index\.json"):
        Hub(hub.url).find(MODEL, "main")
    (folder / "model.safetensors.index.json").write_text("{}")
    found = {file.name for file in Hub(hub.url).find(MODEL, "main").files}
    assert {name for name in found if ".safetensors" in name} == {
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
    }


def test_the_token_stays_with_the_hub(hub: HubServer, store: Store, tmp_path: Path) -> None:
    """Large files come from another host, by an address that is signed."""
    hub.faults = Faults(gated={MODEL}, token=TOKEN, cdn=True)
    fetch(store, hub, tmp_path, token=TOKEN)
    assert {(one.host, one.authorized) for one in hub.asked} == {
        ("127.0.0.1", True),
        ("localhost", False),
    }


def test_what_the_environment_names_is_obeyed(
    monkeypatch: pytest.MonkeyPatch, hub: HubServer
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    assert Hub.from_environment().find(MODEL, "main").commit == hub.commit(MODEL)
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n{TOKEN}")
    with pytest.raises(InputError, match="HF_TOKEN: expected a token") as caught:
        Hub.from_environment()
    assert TOKEN not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    for wrong in ("huggingface.co", "ftp://host", "https://"):
        monkeypatch.setenv("HF_ENDPOINT", wrong)
        with pytest.raises(InputError, match="HF_ENDPOINT: expected an address"):
            Hub.from_environment()


def test_a_machine_that_is_told_to_stay_offline_says_so(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE: expected to be unset"):
        Hub(hub.url).find(MODEL, "main")


def test_a_password_in_the_address_is_not_quoted(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_ports(1)[0]
    with caplog.at_level(logging.DEBUG), pytest.raises(Infrastructure) as caught:
        fetch_weights(
            store,
            Hub(f"http://user:{TOKEN}@127.0.0.1:{port}"),
            MODEL,
            "main",
            tmp_path / "arriving",
        )
    secretless(caught.value, caplog)


@pytest.mark.s3
def test_from_s3_the_files_come_through_the_cache(
    hub: HubServer, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBT_RAY_CACHE", str(tmp_path / "cache"))
    store = open_store(s3_url)
    weights = fetch(store, hub, tmp_path)
    assert complete(store, MODEL, "main") == weights
    for attempt in ("first", "second"):
        folder = link(weights, tmp_path / attempt, lambda blob: local_file(store, blob))
        assert sha256_of(folder / "model.safetensors") == weights.files["model.safetensors"].sha256
        monkeypatch.setattr(store, "download", None)  # the second time they are on this machine
    assert (folder / "model.safetensors").resolve().is_relative_to(tmp_path / "cache")


@pytest.mark.train
def test_a_linked_model_is_the_model(tiny: Base, store: Store, tmp_path: Path) -> None:
    (tmp_path / "hub" / "lab").mkdir(parents=True)
    (tmp_path / "hub" / MODEL).symlink_to(tiny.folder)
    with hub_server(tmp_path / "hub") as server:
        weights = fetch(store, server, tmp_path)
    base = open_base(
        str(link(weights, tmp_path / "linked", lambda blob: local_file(store, blob))), tmp_path
    )
    assert base.digest == tiny.digest
    assert base.template == tiny.template
