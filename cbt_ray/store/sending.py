"""A large file on its way to S3: boto3 sends it in parts, and the object appears only if what was
read is what was promised.
"""

from __future__ import annotations

import hashlib
from typing import IO, TYPE_CHECKING

from cbt_ray.errors import Infrastructure

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig

PART = 8 << 20
"""Bytes of a part, which is held in memory until it is sent; a smaller file goes in one request."""
STREAMS = 4
MOST_PARTS = 10_000


class Sent:
    """A file as boto3 reads it, once and in order, since it cannot seek.

    After its last byte Infrastructure is raised where it was another file, before boto3 puts the
    parts together.
    """

    def __init__(self, stream: IO[bytes], size: int, sha256: str | None, changed: str) -> None:
        self._stream, self._size, self._sha256, self._changed = stream, size, sha256, changed
        self._read, self._sha = 0, hashlib.sha256()

    def read(self, amount: int = -1) -> bytes:
        """The next bytes."""
        data = self._stream.read(amount)
        self._read += len(data)
        self._sha.update(data)
        if not data and (
            self._read != self._size or self._sha256 not in (None, self._sha.hexdigest())
        ):
            raise Infrastructure(self._changed, "store")
        return data


def transfer(size: int) -> TransferConfig:
    """How boto3 sends, or has the server copy, a file of this size."""
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=PART,
        multipart_chunksize=max(PART, -(-size // MOST_PARTS)),
        max_concurrency=STREAMS,
        preferred_transfer_client="classic",
    )
    config.max_in_memory_upload_chunks = STREAMS
    return config
