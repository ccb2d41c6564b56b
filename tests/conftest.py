"""Fixtures that tests of several modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cbt_ray.__main__ import ONE_THREAD
from tests.needs import pytest_terminal_summary
from tests.s3_server import s3_servers, s3_url

__all__ = ["pytest_terminal_summary", "s3_servers", "s3_url", "speaking"]

os.environ |= ONE_THREAD  # before anything imports numpy, as the command line does
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and commands fold their lines to it


@pytest.fixture(scope="session")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that ends its turns: tuned and exported in seconds."""
    from tests.training.speaking import write_speaking

    return write_speaking(tmp_path_factory.mktemp("speaking"))
