"""Both stores behind one fixture: what holds for one must hold for the other."""

from __future__ import annotations

import pytest

from cbt_ray.store import Store, open_store
from tests.s3_server import S3Servers, names


@pytest.fixture(params=["folder", *(pytest.param(name, marks=pytest.mark.s3) for name in names())])
def url(
    request: pytest.FixtureRequest,
    s3_servers: S3Servers,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """An empty store's URL."""
    if request.param == "folder":
        return str(tmp_path_factory.mktemp("store"))
    return s3_servers.url(request.param, monkeypatch)


@pytest.fixture
def store(url: str) -> Store:
    """An empty store."""
    return open_store(url)
