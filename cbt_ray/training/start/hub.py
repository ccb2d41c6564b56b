"""The Hugging Face hub: what a revision is, which files make a model, and their download, resumable
and checked.

Where it is comes from HF_ENDPOINT, who asks from HF_TOKEN; neither a token nor a signed address is
ever in a message.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store.store import sha256_of
from cbt_ray.training.start.licence_text import is_licence_text

if TYPE_CHECKING:
    import httpx
    from huggingface_hub import ModelInfo

ENDPOINT = "https://huggingface.co"
ATTEMPTS = 5
WAIT_S = 1.0
"""Before the second attempt; doubled for each one after it."""
TIMEOUT_S = 30.0
_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")

Tell = Callable[[int], None]
"""Told how many bytes of a file are there, as they come."""


class WrongRevision(InputError):
    """The hub id is right, its revision is not."""


@dataclass(frozen=True)
class HubFile:
    """A file of a model as the hub describes it: large ones by their SHA-256, small ones by git's
    SHA-1 alone.
    """

    name: str
    size: int
    sha256: str | None
    git: str | None

    def is_in(self, data: bytes) -> bool:
        """Whether these bytes are the file."""
        if self.sha256 is not None:
            return hashlib.sha256(data).hexdigest() == self.sha256
        return (
            hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            == self.git
        )

    def check(self, file: Path) -> str:
        """The SHA-256 of a downloaded file.

        Infrastructure where it is another than the hub says.
        """
        found = sha256_of(file)
        if found == self.sha256 or (self.sha256 is None and self.is_in(file.read_bytes())):
            return found
        raise Infrastructure(
            f"{self.name}: what came is not what the hub describes, its checksum differs",
            "malformed",
        )


@dataclass(frozen=True)
class Snapshot:
    """A model at one commit: the files of it that training needs, the small ones first."""

    hub: str
    commit: str
    licence: str | None
    files: tuple[HubFile, ...]


class Hub:
    """The hub at an address."""

    def __init__(self, endpoint: str = ENDPOINT, token: str | None = None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._token = token
        if urlsplit(endpoint).scheme not in {"http", "https"} or not urlsplit(endpoint).hostname:
            raise InputError("HF_ENDPOINT: expected an address of the form https://host")

    @classmethod
    def from_environment(cls) -> Hub:
        """The hub that HF_ENDPOINT names, asked with HF_TOKEN where there is one."""
        token = os.environ.get("HF_TOKEN", "").strip()
        if not re.fullmatch(
            r"[!-~]*", token
        ):  # what cannot stand in a header would be quoted by the library's error
            raise InputError(
                "HF_TOKEN: expected a token, one word of plain letters, digits and signs"
            )
        return cls(os.environ.get("HF_ENDPOINT") or ENDPOINT, token or None)

    @property
    def host(self) -> str:
        """The hub as messages name it."""
        parts = urlsplit(self.endpoint)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def find(self, model: str, revision: str) -> Snapshot:
        """Ask which commit a revision is and which files it has.

        Raises InputError (unknown, gated), WrongRevision, or Infrastructure after several attempts.
        """
        failed = 0
        while True:
            try:
                info = self._ask(model, revision)
                break
            except Infrastructure as error:
                failed += 1
                _wait(failed, error)
        return _snapshot(model, info)

    def download(
        self, snapshot: Snapshot, file: HubFile, folder: Path, tell: Tell = lambda _bytes: None
    ) -> Path:
        """Bring a file into a folder.

        What an earlier call left there is gone on with, and not fetched again where it is all.

        Raises InputError (gated), or Infrastructure after several attempts that brought nothing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        part, failed = folder / f"{file.name}.part", 0
        part.touch()
        while (had := part.stat().st_size) != file.size:
            try:
                self._go_on(snapshot, file, part, tell)
            except Infrastructure as error:
                failed = 1 if part.stat().st_size > had else failed + 1
                _wait(failed, error)
        return part

    def _ask(self, model: str, revision: str) -> ModelInfo:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        _quiet()
        api = HfApi(endpoint=self.endpoint, token=self._token or False)
        with self._reached(model):
            try:
                return api.model_info(
                    model, revision=revision, files_metadata=True, timeout=TIMEOUT_S
                )
            except HfHubHTTPError as error:
                self._refuse(model, revision, error.response)
            except HFValidationError:
                raise InputError(
                    f"expected a hub id, org/name, {model!r} is none; a folder is written ./{model}"
                ) from None
            except (ValueError, TypeError, KeyError) as error:  # a page of a proxy, for one
                raise Infrastructure(
                    f"{model}: {self.host} sent no description of a model", "malformed"
                ) from error

    def _go_on(self, snapshot: Snapshot, file: HubFile, part: Path, tell: Tell) -> None:
        """One request for what is missing of a file, written as it comes."""
        from huggingface_hub import get_session

        have = part.stat().st_size
        if have > file.size:
            os.truncate(part, have := 0)
        headers = {"Accept-Encoding": "identity"}  # or the sizes would not be those of the file
        headers |= (
            {"Authorization": f"Bearer {self._token}"} if self._token else {}
        )  # httpx takes it off before another host
        headers |= {"Range": f"bytes={have}-"} if have else {}
        url = f"{self.endpoint}/{snapshot.hub}/resolve/{snapshot.commit}/{quote(file.name)}"
        with (
            self._reached(snapshot.hub),
            get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as answer,
        ):
            if answer.status_code not in {200, 206}:
                self._refuse(snapshot.hub, snapshot.commit, answer)
            if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            ):
                raise Infrastructure(
                    f"{snapshot.hub}: {file.name}: {self.host} sent other bytes than were asked "
                    "for",
                    "malformed",
                )
            with part.open("ab" if answer.status_code == 206 else "wb") as stream:
                for chunk in answer.iter_bytes():
                    stream.write(chunk)
                    tell(stream.tell())
        if part.stat().st_size != file.size:
            raise Infrastructure(
                f"{snapshot.hub}: {file.name}: {self.host} sent another number of bytes",
                "connection",
            )

    def _refuse(self, model: str, revision: str, answer: httpx.Response) -> NoReturn:
        """Raise what the hub's answer means.

        Its own words are left out: an address in them may be signed.
        """
        status, code = answer.status_code, answer.headers.get("X-Error-Code", "")
        if code == "GatedRepo" or status == 403:
            raise InputError(
                f"{model}: {self.host} asks for the consent to its licence ({status}): expected "
                "HF_TOKEN to hold a token "
                f"of an account that has given it at {ENDPOINT}/{model}"
            )
        if code == "RevisionNotFound":
            raise WrongRevision(
                f"expected a commit, tag or branch of {model}, {self.host} has no {revision!r} "
                f"({status})"
            )
        if status == 404 or code == "RepoNotFound":
            raise InputError(
                f"expected a hub id: {self.host} has no {model} ({status}), or hides it from an "
                "account without access "
                f"(HF_TOKEN); a folder of this name is written ./{model}"
            )
        if status == 401:
            held = "a valid token" if self._token else "a token"
            raise InputError(
                f"{model}: {self.host} refused the request ({status}): expected HF_TOKEN to hold "
                f"{held}"
            )
        kind = "rate_limit" if status == 429 else "server"
        raise Infrastructure(
            f"{model}: {self.host} answered {status}",
            kind,
            _seconds(answer.headers.get("Retry-After")),
        )

    @contextmanager
    def _reached(self, model: str) -> Iterator[None]:
        """Turn what the network and the local disk raise inside into Infrastructure."""
        import httpx
        from huggingface_hub.errors import OfflineModeIsEnabled

        try:
            yield
        except OfflineModeIsEnabled:
            raise InputError(
                f"{model}: HF_HUB_OFFLINE: expected to be unset, or nothing can be fetched"
            ) from None
        except httpx.TimeoutException as error:
            raise Infrastructure(
                f"{model}: {self.host} gave no answer in time", "timeout"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Infrastructure(
                f"{model}: {self.host} is out of reach ({type(error).__name__})", "connection"
            ) from error
        except OSError as error:
            raise Infrastructure(
                f"{model}: {error.strerror or type(error).__name__}", "connection"
            ) from error


def _snapshot(model: str, info: ModelInfo) -> Snapshot:
    """What of the hub's answer counts.

    Raises InputError where the model has no weights of the kind that is trained on.
    """
    described = {sibling.rfilename: sibling for sibling in info.siblings or []}
    for name in (
        *_NEEDED,
        _INDEX if any(map(_SHARD.fullmatch, described)) else "model.safetensors",
    ):
        if name not in described:
            raise InputError(
                f"{model}: expected a model in the format of transformers with safetensors, it has "
                f"no {name}"
            )
    files = []
    for name in filter(_is_needed(sharded=_INDEX in described), described):
        one = described[name]
        size, git = (one.lfs.size, None) if one.lfs else (one.size, one.blob_id)
        sha256 = one.lfs.sha256 if one.lfs else None
        if size is None or info.sha is None or not (sha256 or git):
            raise InputError(
                f"{model}: HF_ENDPOINT: expected a hub that tells commit, sizes and checksums of "
                "files"
            )
        files.append(HubFile(name, size, sha256, git))
    return Snapshot(
        model,
        str(info.sha),
        _licence(info),
        tuple(sorted(files, key=lambda file: (file.size, file.name))),
    )


def _is_needed(*, sharded: bool) -> Callable[[str], bool]:
    """Safetensors by transformers' own names (not `consolidated`, no other precisions), settings,
    tokenizer, licences.
    """

    def needed(name: str) -> bool:
        if "/" in name or name.startswith((".", "consolidated")):
            return False
        if name.endswith(".safetensors"):
            return _SHARD.fullmatch(name) is not None if sharded else name == "model.safetensors"
        return (
            name == "tokenizer.model" or name.endswith((".json", ".jinja")) or is_licence_text(name)
        )

    return needed


def _licence(info: ModelInfo) -> str | None:
    """The licence that the model's card declares."""
    card: Any = info.card_data
    declared = (card.get("license_name") or card.get("license")) if card is not None else None
    return str(declared) if declared else None


def _wait(failed: int, error: Infrastructure) -> None:
    """Before another attempt; after too many the fault passes through."""
    if failed >= ATTEMPTS:
        raise error
    time.sleep(min(60.0, max(WAIT_S * 2 ** (failed - 1), error.retry_after or 0.0)))


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _quiet() -> None:
    """The libraries' logs quote addresses, which may be signed."""
    for name in ("httpx", "httpcore", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
