"""A store in an S3 bucket.

Writing once is `If-None-Match: *`, which the server must honour: `check` proves it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypedDict

from cbt_ray.count import many
from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store.address import Address
from cbt_ray.store.s3_faults import ABSENT, CONFLICT, GONE, TAKEN, attempts_of, code_of, mapped
from cbt_ray.store.sending import STREAMS, Sent, transfer
from cbt_ray.store.store import HIDDEN, Asked, Blob, Found, Store, going_on

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

PIECE = 8 << 20
"""Bytes of a large file that are fetched by one request and held in memory until they are written.
"""
ATTEMPTS = 5
CONNECTIONS = 192
"""That are kept open: those of a worker's threads, and of what is read side by side beyond them."""
READERS = 16
FEW = 8
"""So many objects are read by who asks, since threads of their own take longer to start."""
_connecting = Lock()


class At(TypedDict):
    """Where an object lies, as boto3's arguments."""

    Bucket: str
    Key: str


class S3Store(Store):
    """Objects below a prefix of a bucket.

    Picklable: every process makes its own client when it first needs one.
    """

    def __init__(self, url: str) -> None:
        self.address = Address.parse(url)
        self.url = str(self.address)
        self._clients: dict[int, S3Client] = {}

    def __reduce__(self) -> tuple[type[S3Store], tuple[str]]:
        """A worker gets the URL (with the endpoint, which its environment may lack) and opens its
        own connections.
        """
        return type(self), (self.url,)

    def where(self, path: str) -> str:
        return f"{self.address.name}/{path}"

    @property
    def client(self) -> S3Client:
        """The client of this process: a fork must not share its parent's connections."""
        pid = os.getpid()
        if pid not in self._clients:
            with _connecting, mapped(self.address):
                if pid not in self._clients:  # still, of all threads that ask at once
                    self._clients[pid] = connect(self.address, ATTEMPTS)
        return self._clients[pid]

    def create(self, path: str, data: bytes) -> bool:
        writer = uuid.uuid4().hex
        for attempt in range(ATTEMPTS):
            answer = self._create(path, data, writer)
            if answer is not None:
                return answer
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise Infrastructure(f"{self.where(path)}: other writers kept its name busy", "store")

    def _create(self, path: str, data: bytes, writer: str) -> bool | None:
        """One attempt; None where the server saw two writers at once and decided for neither."""
        from botocore.exceptions import ClientError

        client = self.client
        with mapped(self.address):
            try:
                client.put_object(
                    **self._at(path), Body=data, IfNoneMatch="*", Metadata={"writer": writer}
                )
            except ClientError as error:
                if code_of(error) in TAKEN:
                    return attempts_of(error) > 0 and self._writer(path) == writer
                if code_of(error) in CONFLICT:
                    return None
                raise
        return True

    def _writer(self, path: str) -> str | None:
        """Who wrote an object.

        A repeated request finds the object that its own first try made, whose answer got lost.
        """
        return self.client.head_object(**self._at(path))["Metadata"].get("writer")

    def replace(self, path: str, data: bytes) -> None:
        client = self.client
        with mapped(self.address):
            client.put_object(**self._at(path), Body=data)

    def read(self, path: str) -> bytes | None:
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

        client = self.client
        with mapped(self.address):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return client.get_object(**self._at(path))["Body"].read()
                except ClientError as error:
                    if code_of(error) in ABSENT:
                        return None
                    raise
                except (
                    HTTPClientError,
                    IncompleteReadError,
                ):  # cut in the body, which botocore does not repeat
                    if attempt == ATTEMPTS:
                        raise
        return None

    def size(self, path: str) -> int | None:
        head = self._head(path)
        return None if head is None else head["ContentLength"]

    def _head(self, path: str) -> HeadObjectOutputTypeDef | None:
        from botocore.exceptions import ClientError

        client = self.client
        with mapped(self.address):
            try:
                return client.head_object(**self._at(path))
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise

    def move(self, source: str, target: str) -> None:
        from botocore.exceptions import ClientError

        client = self.client
        with mapped(self.address):
            try:
                copied: Any = self._at(source)
                client.copy(copied, **self._at(target), Config=transfer(self.size(source) or 0))
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return
                raise
            client.delete_object(**self._at(source))

    def delete(self, path: str) -> None:
        client = self.client
        with mapped(self.address):
            client.delete_object(**self._at(path))

    def list(self, prefix: str) -> Iterator[str]:
        """Sorted here: not every server lists in the order of the whole key."""
        client = self.client
        with mapped(self.address):
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self.address.bucket, Prefix=self.address.object(prefix)
            )
            found = sorted(
                self.address.path(entry["Key"])
                for page in pages
                for entry in page.get("Contents", [])
            )
        yield from (path for path in found if not path.startswith(HIDDEN))

    def upload(self, file: Path, path: str, sha256: str | None = None) -> None:
        from botocore.exceptions import ClientError

        client = self.client
        with mapped(self.address), file.open("rb") as stream:
            size = file.stat().st_size
            changed = f"{file}: changed while it was sent to {self.where(path)}"
            sent: Any = Sent(stream, size, sha256, changed)
            try:
                client.upload_fileobj(sent, **self._at(path), Config=transfer(size))
            except ClientError as error:
                if code_of(error) not in GONE:  # or the answer to the last request got lost
                    raise
        held = self.size(path)
        if held != size:
            self.set_aside(path)
            raise Infrastructure(
                f"{self.where(path)}: sent {many(size, 'byte')}, the server holds "
                f"{held or 0:,}; moved aside",
                "store",
            )

    def holds(self, blob: Blob, *, thorough: bool = False) -> bool:
        head, sha = self._head(blob.path), hashlib.sha256()
        if head is None or head["ContentLength"] != blob.size:
            return False
        if not thorough:
            return True
        with mapped(self.address):
            for piece in self._pieces(blob.path, head["ETag"], 0, blob.size):
                sha.update(piece)
        return sha.hexdigest() == blob.sha256

    def download(self, path: str, file: Path) -> bool:
        """In pieces, several at a time, written in their order: what is there is whole up to its
        end, so an attempt can go on.
        """
        head = self._head(path)
        if head is None:
            return False
        with mapped(self.address):
            size, etag = head["ContentLength"], head["ETag"]
            version = hashlib.sha256(f"{path} {size} {etag}".encode()).hexdigest()[:16]
            with going_on(file, version) as part:
                if part.tell() > size:
                    part.truncate(0)
                    part.seek(0)
                for piece in self._pieces(path, etag, part.tell(), size):
                    part.write(piece)
        return True

    def _pieces(self, path: str, etag: str, begin: int, size: int) -> Iterator[bytes]:
        """The object's bytes from `begin` on, in order."""
        offsets = iter(range(begin, size, PIECE))
        with ThreadPoolExecutor(STREAMS) as pool:
            ahead = deque(
                pool.submit(self._piece, path, etag, at, min(at + PIECE, size))
                for at in islice(offsets, STREAMS)
            )
            try:
                while ahead:
                    piece = ahead.popleft().result()
                    ahead.extend(
                        pool.submit(self._piece, path, etag, at, min(at + PIECE, size))
                        for at in islice(offsets, 1)
                    )
                    yield piece
            finally:
                for future in ahead:
                    future.cancel()

    def _piece(self, path: str, etag: str, begin: int, end: int) -> bytes:
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self.client.get_object(**self._at(path), Range=f"bytes={begin}-{end - 1}")
                if answer["ETag"] != etag or answer["ContentLength"] != end - begin:
                    raise Infrastructure(
                        f"{self.where(path)}: changed while it was fetched", "store"
                    )
                return answer["Body"].read()
            except (
                HTTPClientError,
                IncompleteReadError,
            ):  # cut in the body, which botocore does not repeat
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _each(self, read: Callable[[Asked], Found], keys: Sequence[Asked]) -> Iterator[Found]:
        if len(keys) <= FEW:
            yield from map(read, keys)
            return
        with ThreadPoolExecutor(READERS) as pool:
            yield from pool.map(read, keys)

    def check(self) -> None:
        """Prove reach, access and write-once.

        A server that ignores If-None-Match would let two workers write one unit.
        """
        with mapped(self.address):
            quick = connect(self.address, 2)
            quick.list_objects_v2(
                Bucket=self.address.bucket, Prefix=self.address.object(HIDDEN), MaxKeys=1
            )
        if not self.writes_once():
            raise InputError(
                f"store {self.address.name} on {self.address.host}: the server ignores "
                "If-None-Match on PutObject, "
                "without which units cannot be written once; expected one that answers 412 (AWS "
                "S3, minio, SeaweedFS 4)"
            )

    def _at(self, path: str) -> At:
        return {"Bucket": self.address.bucket, "Key": self.address.object(path)}


def connect(address: Address, attempts: int) -> S3Client:
    """A client that asks for nothing look-alike servers lack: no virtual hosts, no checksums but
    those of the signature.
    """
    import boto3
    from botocore.config import Config

    _quiet()
    config = Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
    )
    session = (
        boto3.session.Session()
    )  # boto3's default session is not safe to share between threads
    region = session.region_name or "us-east-1"
    return session.client("s3", endpoint_url=address.endpoint, region_name=region, config=config)


def _quiet() -> None:
    """Botocore's debug log holds access keys, session tokens and signatures: no setting of the root
    logger may show it.
    """
    for name in ("boto3", "botocore", "s3transfer", "urllib3"):
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)
