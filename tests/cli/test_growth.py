"""What a finished study takes to look at grows with its sessions, and no faster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.calls import A_SECOND, calls_of_command
from tests.stages.finished import write_finished

pytestmark = pytest.mark.slow

REPLICATES = (1, 2, 4)
SESSIONS = 10
"""Of a chain: 300, 600 and 1,200 in all."""
STUDY = ["study", "study.yaml", "--inline"]
COMMANDS = [
    (["status", "study.yaml"], 3.0),
    (["status", "study.yaml", "--set", "seed=8"], 6.0),
    (STUDY, 6.0),
    (["report", "study.yaml"], 6.0),
]
"""Each with the seconds of a laptop of today that it may take of 6,000 sessions."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of finished studies, analysed and reported."""
    folders = [tmp_path_factory.mktemp(f"r{replicates}") for replicates in REPLICATES]
    for folder, replicates in zip(folders, REPLICATES, strict=True):
        write_finished(folder, replicates, SESSIONS)
        calls_of_command(STUDY, folder)
    return folders


@pytest.mark.parametrize(("command", "limit"), COMMANDS, ids=str)
def test_each_further_session_costs_as_much_as_those_before(
    command: list[str], limit: float, studies: list[Path]
) -> None:
    few, more, most = (calls_of_command(command, folder) for folder in studies)
    a_session = (most - more) / 600
    assert 0 < a_session < 1.05 * (more - few) / 300
    assert most + 4800 * a_session < limit * A_SECOND
