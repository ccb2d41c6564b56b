"""The store: where units lie.

One interface, a local folder and S3; resume is this and nothing else.
"""

from __future__ import annotations

from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.store.store import Blob, Store

__all__ = ["Blob", "Store", "open_store"]


def open_store(url: str) -> Store:
    """Open the store of a URL: a folder's path, or
    s3://bucket/prefix[?endpoint=http://host:port].
    """
    if url.startswith("s3://"):
        from cbt_ray.store.s3 import S3Store  # boto3 takes 0.3 s to import

        return S3Store(url)
    if (
        "://" in url or url.lower().startswith("s3:") or not url
    ):  # the URL is not repeated: it may hold a password
        raise InputError(
            "store: expected a folder or s3://bucket/prefix[?endpoint=http://host:port]"
        )
    from cbt_ray.store.folder import FolderStore

    return FolderStore(Path(url))
