"""A large file on its way to S3: in parts, going on with what a killed process sent, and compared
with what the server holds.

Plain S3 calls only. minio lists unfinished uploads for nothing but an exact key, which is all that
is asked for here.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from cbt_ray.errors import Infrastructure
from cbt_ray.store.s3_faults import ABSENT, code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 16 << 20
"""Bytes of a part, which is held in memory until it is sent; a file up to this size goes in one
request."""
STREAMS = 4
MOST_PARTS = 10_000
GONE = {"NoSuchUpload"}
TRIES = 3


class At(TypedDict):
    """Where an object lies, as boto3's arguments."""

    Bucket: str
    Key: str


@dataclass(frozen=True)
class Sending:
    """One file on its way to one object, which messages call `where`.

    `sha256` is what the file's has to be, if known.
    """

    client: S3Client
    at: At
    where: str
    file: Path
    sha256: str | None = None

    def send(self) -> int:
        """Send the file and say how many bytes it had.

        The object appears only if the server holds every part as it was sent.
        """
        size = self.file.stat().st_size
        if size <= PART:
            return self._at_once()
        step = max(PART, -(-size // MOST_PARTS))
        for _ in range(TRIES):
            try:
                return self._in_parts(step)
            except Exception as error:
                if code_of(error) not in GONE:
                    raise
            if self._is_there(
                step
            ):  # another process was quicker, or the answer to our last request got lost
                return size
        raise Infrastructure(
            f"{self.where}: other processes dropped its upload again and again", "store"
        )

    def _at_once(self) -> int:
        data = self.file.read_bytes()
        self._expect(hashlib.sha256(data).hexdigest(), len(data))
        self.client.put_object(**self.at, Body=data, ContentMD5=_header(_md5(data)))
        return len(data)

    def _in_parts(self, step: int) -> int:
        upload = (
            self._unfinished(step) or self.client.create_multipart_upload(**self.at)["UploadId"]
        )
        sha256, sizes, etags = self._send_parts(upload, step)
        try:
            self._expect(sha256, sum(sizes))
            self._compare(upload, sizes, etags)
        except Infrastructure:
            self._drop(upload)
            raise
        parts: Any = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        self.client.complete_multipart_upload(
            **self.at, UploadId=upload, MultipartUpload={"Parts": parts}
        )
        return sum(sizes)

    def _send_parts(self, upload: str, step: int) -> tuple[str, list[int], list[str]]:
        """Read the file once, in order, and send what the server lacks, some parts at a time:
        SHA-256, sizes, ETags.
        """
        there = {
            part["PartNumber"]: (part["Size"], _bare(part["ETag"])) for part in self._parts(upload)
        }
        sha, sizes, etags = hashlib.sha256(), [], []
        ahead: deque[tuple[int, Future[str]]] = deque()
        with ThreadPoolExecutor(STREAMS) as pool:
            try:
                for number, data in enumerate(self._pieces(step), 1):
                    sha.update(data)
                    sizes.append(len(data))
                    etags.append(_md5(data))
                    if there.get(number) != (len(data), etags[-1]):
                        ahead.append(
                            (number, pool.submit(self._send_part, upload, number, data, etags[-1]))
                        )
                    if len(ahead) == STREAMS:
                        first, future = ahead.popleft()
                        etags[first - 1] = future.result()
                for number, future in ahead:
                    etags[number - 1] = future.result()
            finally:
                for _, future in ahead:
                    future.cancel()
        return sha.hexdigest(), sizes, etags

    def _send_part(self, upload: str, number: int, data: bytes, md5: str) -> str:
        """Send one part; the server refuses it where it does not arrive with this MD5.

        Answers the server's ETag.
        """
        answer = self.client.upload_part(
            **self.at, UploadId=upload, PartNumber=number, Body=data, ContentMD5=_header(md5)
        )
        return _bare(answer["ETag"])

    def _expect(self, sha256: str, size: int) -> None:
        """What was read is the file that was meant."""
        if self.sha256 not in (None, sha256) or self.file.stat().st_size != size:
            raise Infrastructure(f"{self.file}: changed while it was sent to {self.where}", "store")

    def _compare(self, upload: str, sizes: list[int], etags: list[str]) -> None:
        """The server says itself which parts it holds: these, and no others under their numbers."""
        held = {
            (part["PartNumber"], part["Size"], _bare(part["ETag"])) for part in self._parts(upload)
        }
        wrong = held ^ set(zip(range(1, len(sizes) + 1), sizes, etags, strict=True))
        if wrong:
            text = f"part {min(wrong)[0]} of {len(sizes)} is not on the server as it was sent"
            raise Infrastructure(f"{self.where}: {text}", "store")

    def _is_there(self, step: int) -> bool:
        """Whether the object is this file already, by size and by the ETag that S3 gives to parts
        put together.
        """
        from botocore.exceptions import ClientError

        try:
            head = self.client.head_object(**self.at)
        except ClientError as error:
            if code_of(error) in ABSENT:
                return False
            raise
        digests = [bytes.fromhex(_md5(data)) for data in self._pieces(step)]
        etag = f"{_md5(b''.join(digests))}-{len(digests)}"
        return (head["ContentLength"], _bare(head["ETag"])) == (self.file.stat().st_size, etag)

    def _unfinished(self, step: int) -> str | None:
        """An upload that an earlier process began of this file.

        All others of the object are dropped.
        """
        found = {upload: self._parts(upload) for upload in self._uploads()}
        chosen = None
        for upload in sorted(found, key=lambda one: -len(found[one])):
            if chosen is None and self._fits(found[upload], step):
                chosen = upload
            else:
                self._drop(upload)
        return chosen

    def _fits(self, parts: list[Any], step: int) -> bool:
        """Whether all its parts are the file's own.

        None is sent a second time: SeaweedFS would then list it twice.
        """
        with self.file.open("rb") as stream:
            for part in parts:
                stream.seek(step * (part["PartNumber"] - 1))
                data = stream.read(step)
                if (part["Size"], _bare(part["ETag"])) != (len(data), _md5(data)):
                    return False
        return True

    def _uploads(self) -> list[str]:
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.at["Bucket"], Prefix=self.at["Key"]
        )
        return [
            one["UploadId"]
            for page in pages
            for one in page.get("Uploads", [])
            if one["Key"] == self.at["Key"]
        ]

    def _parts(self, upload: str) -> list[Any]:
        pages = self.client.get_paginator("list_parts").paginate(**self.at, UploadId=upload)
        return [part for page in pages for part in page.get("Parts", [])]

    def _drop(self, upload: str) -> None:
        from botocore.exceptions import ClientError

        with suppress(
            ClientError
        ):  # it is gone already, or stays and is found again by the next upload of the object
            self.client.abort_multipart_upload(**self.at, UploadId=upload)

    def _pieces(self, step: int) -> Iterator[bytes]:
        with self.file.open("rb") as stream:
            while data := stream.read(step):
                yield data


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _header(md5: str) -> str:
    return base64.b64encode(bytes.fromhex(md5)).decode()


def _bare(etag: str) -> str:
    return etag.strip('"')
