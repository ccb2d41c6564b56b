"""Many chains at once: they say what they say one after the other, and what an endpoint bears holds
over all workers, as its server counts it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import BudgetReached
from cbt_ray.stages.simulate import simulate
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.usage import Costs
from tests.bench.orchestration import counts, document, latency_server
from tests.stages import scripted
from tests.study.example import write_study

pytestmark = pytest.mark.slow
BEARS, CALLS = 10, 600


def contents(folder: Path, engine: dict[str, Any], *options: str) -> dict[str, Any]:
    """What a study's units say, by key."""
    folder.mkdir()
    study = scripted.study_document(folder / "store", engine=engine)
    study["sessions"]["replicates"] = 4
    scripted.run("study", scripted.write_study(folder, study), *options)
    found = scripted.units(folder / "store")
    return {key: unit.content for key, unit in found.items() if "/report/" not in key}


def test_contents_are_those_of_one_chain_after_the_other(tmp_path: Path) -> None:
    alone = contents(tmp_path / "one", {"workers": 1, "chains_per_worker": 1})
    assert contents(tmp_path / "many", {"workers": 1, "chains_per_worker": 64}) == alone
    assert contents(tmp_path / "inline", {}, "--inline") == alone
    assert len(alone) > 60


@pytest.mark.parametrize("budget", [{}, {"calls": CALLS}])
def test_limits_and_budget_hold_with_128_chains_a_worker(
    tmp_path: Path, budget: dict[str, int]
) -> None:
    with latency_server(0.02) as url:
        study = document(chains=250, workers=2, url=url) | {"budget": budget}
        study["endpoints"]["script"]["max_concurrency"] = BEARS
        bench = Bench(load_study(write_study(tmp_path, study)), Silent())
        try:
            simulate(bench)
        except BudgetReached:
            assert budget
        finally:
            bench.close()
        found = counts(url)
    assert found["calls"] == (CALLS if budget else 2500 + PROBES)
    assert 1 < found["most"] <= BEARS
    assert Costs(FolderStore(tmp_path / "runs"), "small").total.calls == found["calls"]


PROBES = 3
"""Short calls that prove the endpoint, one each way in which it is asked."""
