"""Tests on a real cluster run where they are asked for: `make test-cluster` sets REQUIRE=cluster,
and the cluster is there.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.needs import needs

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder bear the marker `cluster`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    """The cluster that `make kind-up` created.

    Without it, and without being asked for, the tests are skipped.
    """
    wanted = "cluster" in os.environ.get("REQUIRE", "").split(",")
    name = f"kind-{os.environ.get('CLUSTER', 'cbt-ray')}"
    there = (
        wanted
        and not subprocess.run(
            ["kubectl", "--context", name, "get", "nodes"], capture_output=True, check=False
        ).returncode
    )
    needs("cluster", there)


@pytest.fixture(scope="module")
def asked_for() -> None:
    """Tests that take half an hour together are asked for: `make test-cluster FAULTS=1`."""
    needs("faults", "faults" in os.environ.get("REQUIRE", "").split(","))
