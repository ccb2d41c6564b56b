"""Weights that a recipe names by a hub id, in the store: fetched once for all studies in it,
checked, addressed by content.

weights/<org--name>/<revision>.commit        the commit that a revision was when its files began to
be fetched; written once weights/<org--name>/blobs/<sha256>-<file>    the files, shared by revisions
weights/<org--name>/<revision>.json          all of them with their commit, written once when they
are complete
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store import Blob, Store
from cbt_ray.training.shard import INDEX, index_of
from cbt_ray.training.start.four_bit import says_four_bit
from cbt_ray.training.start.hub import Hub, HubFile, Snapshot, WrongRevision
from cbt_ray.unit import canonical

log = logging.getLogger(__name__)
HOME = "weights"
FORMAT = 1
SETTINGS = "config.json"

Tell = Callable[[Snapshot, HubFile, int], None]
"""Told how many bytes of which file are there."""


@dataclass(frozen=True)
class Weights:
    """A model's files in the store, and where they are from."""

    hub: str
    revision: str
    commit: str
    licence: str | None
    files: dict[str, Blob]

    @property
    def source(self) -> dict[str, Any]:
        """Where they are from, for the provenance of what is made of them."""
        return {
            "hub": self.hub,
            "revision": self.revision,
            "commit": self.commit,
            "licence": self.licence,
        }

    def to_bytes(self) -> bytes:
        """The document as it is stored, with the SHA-256 of its body."""
        files = [{"name": name, **blob.to_json()} for name, blob in sorted(self.files.items())]
        body = {"format": FORMAT, **self.source, "files": files}
        return json.dumps({**body, "sha256": _digest(body)}, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Weights:
        """Read a stored document; raises ValueError where it is torn."""
        try:
            body = json.loads(data)
            if body.pop("sha256") != _digest(body):
                raise ValueError("checksum fails")
            files = {one["name"]: Blob.from_json(one) for one in body["files"]}
            return cls(body["hub"], body["revision"], body["commit"], body["licence"], files)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no document of weights: {error}") from error


def complete(store: Store, model: str, revision: str) -> Weights | None:
    """The weights, if all of their files are in the store; asks nobody else."""
    weights = _known(store, model, revision)
    if weights is None or any(
        store.size(blob.path) != blob.size for blob in weights.files.values()
    ):
        return None
    return weights


def fetch_weights(
    store: Store,
    hub: Hub,
    model: str,
    revision: str,
    folder: Path,
    tell: Tell = lambda _snapshot, _file, _bytes: None,
) -> Weights:
    """Bring a model's files into the store, one after the other through `folder`.

    Those that are in it are not fetched again.

    Raises WrongRevision where the revision has become another commit since its files began to be
    fetched, InputError where the weights are quantized in a way that nothing can be merged into.
    """
    weights = complete(store, model, revision)
    if weights is not None:
        return weights
    known = _known(store, model, revision)  # complete once, and a file was lost since
    snapshot = hub.find(model, known.commit if known else revision)
    if known is None:
        _claim(store, revision, snapshot)
    blobs: dict[str, Blob] = {}
    for file in snapshot.files:
        if (
            known is None or file.name in known.files
        ):  # an earlier version fetched no texts of licences
            blobs[file.name] = _stored(store, file, model) or _bring(
                store, hub, snapshot, file, folder, tell
            )
            if (
                file.name == SETTINGS
            ):  # a small file, and so among the first: nothing large is fetched in vain
                says_four_bit(store.read(blobs[file.name].path) or b"", f"{model}: {SETTINGS}")
            if file.name == INDEX:
                _expect_all(store.read(blobs[file.name].path) or b"", snapshot)
    shutil.rmtree(folder, ignore_errors=True)
    weights = Weights(model, revision, snapshot.commit, snapshot.licence, blobs)
    if known is None and not store.create(_path(model, revision, "json"), weights.to_bytes()):
        known = _known(store, model, revision)
    if known is not None and known.files != weights.files:
        raise Infrastructure(
            f"{model}: the hub describes other files of {snapshot.commit} than it did before",
            "malformed",
        )
    return weights


def link(weights: Weights, folder: Path, local: Callable[[Blob], Path]) -> Path:
    """A Hugging Face folder of links to the files on this machine, which `local` brings and
    checks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, blob in weights.files.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(local(blob).absolute())
    return folder


def _expect_all(index: bytes, snapshot: Snapshot) -> None:
    """Raise InputError where the hub lacks a file that the index of the weights names."""
    named = set(index_of(index, f"{snapshot.hub}: {INDEX}")["weight_map"].values())
    lost = sorted(named - {file.name for file in snapshot.files})
    if lost:
        raise InputError(
            f"{snapshot.hub}: {INDEX}: weight_map: expected the file {lost[0][:200]!r} next to it, "
            "there is none"
        )


def _known(store: Store, model: str, revision: str) -> Weights | None:
    path = _path(model, revision, "json")
    data = store.read(path)
    if data is None:
        return None
    try:
        return Weights.from_bytes(data)
    except ValueError as error:
        log.warning("%s: %s; moved aside, the weights are owed again", path, error)
        store.set_aside(path, seen=data)
        return None


def _claim(store: Store, revision: str, snapshot: Snapshot) -> None:
    """Write down which commit a revision is; refuse another one than was written down before."""
    path = _path(snapshot.hub, revision, "commit")
    if store.create(path, f"{snapshot.commit}\n".encode()):
        return
    claimed = (store.read(path) or b"").decode(errors="replace").strip()
    if claimed != snapshot.commit:
        raise WrongRevision(
            f"{snapshot.hub}: {revision!r} was commit {claimed} when its files began to be fetched "
            f"and is {snapshot.commit} now; "
            "write the commit that you mean"
        )


def _stored(store: Store, file: HubFile, model: str) -> Blob | None:
    """The file in the store, if an earlier fetch brought it.

    A small one, whose SHA-256 the hub does not tell, is read.
    """
    if file.sha256 is not None:
        path = _blob(model, file, file.sha256)
        return Blob(path, file.sha256, file.size) if store.size(path) == file.size else None
    for path in store.list(f"{HOME}/{_folder(model)}/blobs/"):
        sha256 = path.rpartition("/")[2].partition("-")[0]
        if path == _blob(model, file, sha256) and store.size(path) == file.size:
            data = store.read(path) or b""
            if file.is_in(data) and hashlib.sha256(data).hexdigest() == sha256:
                return Blob(path, sha256, file.size)
    return None


def _bring(
    store: Store, hub: Hub, snapshot: Snapshot, file: HubFile, folder: Path, tell: Tell
) -> Blob:
    """Download, check, upload; the copy on this machine is dropped."""
    local = hub.download(snapshot, file, folder, lambda size: tell(snapshot, file, size))
    try:
        sha256 = file.check(local)
    except Infrastructure:
        local.unlink()
        raise
    path = _blob(snapshot.hub, file, sha256)
    store.upload(local, path)
    local.unlink()
    return Blob(path, sha256, file.size)


def _path(model: str, revision: str, kind: str) -> str:
    return f"{HOME}/{_folder(model)}/{quote(revision, safe='')}.{kind}"


def _blob(model: str, file: HubFile, sha256: str) -> str:
    return f"{HOME}/{_folder(model)}/blobs/{sha256}-{file.name}"


def _folder(model: str) -> str:
    """A hub id as one name.

    A hub id holds no `--`, so no two are one, and neither a stage nor a study's blobs are called
    so.
    """
    return model.replace("/", "--")


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(body)).hexdigest()
