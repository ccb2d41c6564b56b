"""A whole study through litellm while one call in five meets a fault: it ends complete and the
counts agree.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cbt_ray.store.folder import FolderStore
from cbt_ray.unit import Stage, Status
from cbt_ray.work.usage import Costs
from tests.llm.faulty_server import FAULTS, SLOW, UNAUTHORIZED, FaultyServer, every, scripted_answer
from tests.stages import scripted

ALL_FAULTS = (*FAULTS, SLOW)


@pytest.mark.slow
def test_a_study_at_a_fifth_faults_ends_complete(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with FaultyServer(every(5, ALL_FAULTS)) as server:
        file = scripted.write_study(tmp_path, document(store, server.url))
        output = scripted.run("study", file)
        sent = server.calls
    costs = Costs(FolderStore(store), "rehearsal")
    assert "report:" in output
    assert costs.total.calls == sent
    assert set(costs.total.faults) >= {"rate_limit", "server", "timeout", "connection", "malformed"}
    ratings = scripted.units(store, Stage.RATINGS)
    assert len(ratings) == 8
    for rating in ratings.values():
        assert rating.status is Status.DONE
        assert all(
            item["score"] is None or item["word"] for item in rating.content["items"].values()
        )
    text = " ".join(str(unit.content) for unit in scripted.units(store).values())
    assert "I cannot help with that" not in text, "a refusal became data"
    assert "Internal" not in text, "an error's text became data"


@pytest.mark.slow
def test_a_key_that_is_refused_in_mid_study_stops_it_with_exit_code_2(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with FaultyServer(
        lambda request, number: UNAUTHORIZED if number > 12 else scripted_answer(request)
    ) as server:
        output = scripted.run(
            "study", scripted.write_study(tmp_path, document(store, server.url)), expect=2
        )
        refused = server.calls - 12
    assert "401" in output or "key" in output
    assert 1 <= refused <= 4, "after the first refusal only calls that were under way are sent"
    assert all(unit.status is Status.DONE for unit in scripted.units(store).values())


def document(store: Path, url: str) -> dict[str, object]:
    """The study with a remote endpoint for every role."""
    remote = {
        "kind": "litellm",
        "model": "openai/scripted",
        "api_base": url,
        "timeout_s": 5,
        "retries": 8,
    }
    return scripted.study_document(
        store, endpoints={"script": remote}, engine={"chains_per_worker": 4}
    )
