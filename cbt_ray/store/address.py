"""Where an S3 store lies: `s3://bucket/prefix[?endpoint=http://host:port]`, read once, and never
with a credential in it.

What is refused is not repeated in the message: it may be a secret.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from cbt_ray.errors import InputError

FORM = "s3://bucket/prefix[?endpoint=http://host:port]"
CREDENTIALS = (
    "credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
    "an AWS profile or the role of a pod)"
)
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Address:
    """A bucket, a prefix in it (without slashes at its ends) and the server; None is AWS itself."""

    bucket: str
    prefix: str
    endpoint: str | None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL; the endpoint may come from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.

        Raises InputError.
        """
        parts = _split(url, f"expected {FORM}")
        if "@" in parts.netloc:
            raise InputError(
                f"store: the s3:// URL holds a user or password, expected {FORM}; {CREDENTIALS}"
            )
        query = parse_qs(parts.query, keep_blank_values=True)
        if set(query) - {"endpoint"} or len(query.get("endpoint", [])) > 1:
            raise InputError(
                f"store: s3://{parts.netloc}: expected no other query than one endpoint=; "
                f"{CREDENTIALS}"
            )
        if not BUCKET.fullmatch(parts.netloc):
            raise InputError(
                f"store: expected {FORM} with a bucket's name of 3 to 63 characters of a-z 0-9 . -"
            )
        given = query.get("endpoint", [_from_environment()])[0]
        return cls(parts.netloc, parts.path.strip("/"), _endpoint(given) if given else None)

    @property
    def name(self) -> str:
        """The store as messages name it."""
        prefix = f"/{self.prefix}" if self.prefix else ""
        return f"s3://{self.bucket}{prefix}"

    @property
    def host(self) -> str:
        """The server as messages name it."""
        return urlsplit(self.endpoint).netloc if self.endpoint else "AWS"

    def __str__(self) -> str:
        return self.name + (f"?endpoint={quote(self.endpoint, safe=':/')}" if self.endpoint else "")

    def object(self, path: str) -> str:
        """An object's key in the bucket."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def path(self, key: str) -> str:
        """The inverse of `object`."""
        return key[len(self.prefix) + 1 :] if self.prefix else key


def _from_environment() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _split(url: str, expected: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InputError(f"store: the URL cannot be read, {expected}") from None
    if parts.fragment:
        raise InputError(f"store: the URL holds a '#', {expected}")
    return parts


def _endpoint(url: str) -> str:
    expected = "expected an endpoint of the form http://host:port"
    parts = _split(url, expected)
    if "@" in parts.netloc or parts.query:
        raise InputError(
            f"store: the endpoint holds a user, password or query, {expected}; {CREDENTIALS}"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(f"store: {expected}")
    return url.rstrip("/")
