"""A budget under many chains of several workers: it stops with exit code 2, overshoots by no call,
and goes on when raised.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cbt_ray.planning.estimate import estimate
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.work.usage import Costs
from tests.stages import scripted

WORKERS, CHAINS = 3, 4
ENGINE = {"workers": WORKERS, "chains_per_worker": CHAINS}


@pytest.mark.slow
def test_half_the_planned_calls(tmp_path: Path) -> None:
    store = tmp_path / "store"
    document = scripted.study_document(store, latency=0.05, engine=ENGINE)
    document["sessions"]["replicates"] = 2
    file = scripted.write_study(tmp_path, document)
    planned = round(sum(one.calls for one in estimate(load_study(file))))

    file = scripted.write_study(tmp_path, {**document, "budget": {"calls": planned // 2}})
    output = scripted.run("study", file, expect=2)
    assert output.strip().splitlines()[-1].startswith(f"cbt-ray: {file}: budget.calls:"), output
    spent = Costs(FolderStore(store), "rehearsal").total.calls
    assert spent == planned // 2, "calls are counted before they are sent, so none is sent too many"

    again = scripted.run("study", file, expect=2)
    assert "budget.calls" in again
    assert Costs(FolderStore(store), "rehearsal").total.calls == spent, (
        "a spent budget allows no call"
    )

    file = scripted.write_study(tmp_path, {**document, "budget": {"calls": planned * 2}})
    assert "report:" in scripted.run("study", file)
    assert Costs(FolderStore(store), "rehearsal").total.calls <= planned + WORKERS * CHAINS * 12, (
        "what was done is not paid for twice"
    )


@pytest.mark.slow
def test_a_budget_of_tokens_overshoots_by_the_calls_in_flight_at_most(tmp_path: Path) -> None:
    store = tmp_path / "store"
    document = scripted.study_document(store, latency=0.05, engine=ENGINE, budget={"tokens": 8000})
    scripted.run("study", scripted.write_study(tmp_path, document), expect=2)
    longest = 1500  # tokens of the longest call of this study
    assert 8000 <= Costs(FolderStore(store), "rehearsal").total.tokens < 8000 + WORKERS * longest, (
        "near its end a worker has one call under way"
    )
