"""Fixtures that tests of several modules share."""

from __future__ import annotations

from tests.s3_server import s3_servers, s3_url

__all__ = ["s3_servers", "s3_url"]
