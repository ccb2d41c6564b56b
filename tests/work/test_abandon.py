"""What units under way have cost, written down by a process that has to end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cbt_ray.errors import BudgetReached
from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.request import Usage
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.unit import Key, Stage
from cbt_ray.work.usage import Costs
from cbt_ray.work.workshop import Workshop
from tests.study.example import example_study, write_study


class Slow(FolderStore):
    """A store far away: a record is there a little after it was sent."""

    def __init__(self, root: Path, together: int) -> None:
        super().__init__(root)
        self.together = threading.Barrier(together)

    def create(self, path: str, data: bytes) -> bool:
        self.together.wait(60)
        time.sleep(0.1)
        return super().create(path, data)


def shop_of(folder: Path, together: int) -> Workshop:
    study = load_study(write_study(folder, example_study()))
    gate = gate_of(Meter(study.endpoints, study.budget))
    shop = Workshop(study, Slow(folder / "store", together), gate)
    for number in range(together):
        key = Key(study.study, Stage.SESSIONS, str(number), "0" * 16)
        shop.begin(key, lambda: Usage(calls=1))
    return shop


def calls(shop: Workshop) -> int:
    return Costs(shop.store, shop.study.study).total.calls


def test_they_are_written_at_once_and_no_further_call_begins(tmp_path: Path) -> None:
    shop = shop_of(tmp_path, 8)
    shop.abandon()
    assert calls(shop) == 8
    with pytest.raises(BudgetReached, match="has to end"):
        shop.gate.acquire(next(iter(shop.study.endpoints)), 1)


def test_what_another_thread_writes_is_waited_for(tmp_path: Path) -> None:
    shop = shop_of(tmp_path, 1)
    (key,) = shop._under_way
    ending = threading.Thread(target=shop.end, args=(key, "done"))
    ending.start()
    while key in shop._under_way:
        time.sleep(0.001)
    shop.abandon()
    assert calls(shop) == 1
    ending.join()
