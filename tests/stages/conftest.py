"""The model that studies of these tests tune."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.speaking import write_speaking


@pytest.fixture(scope="session")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that ends its turns: tuned and exported in seconds."""
    return write_speaking(tmp_path_factory.mktemp("speaking"))
