"""Workers of a cluster from stage to stage; no Ray is asked before the first orders."""

from __future__ import annotations

import threading

from cbt_ray.work.engine import Needs, close_all
from cbt_ray.work.ray_crew import RayCrew

SERVERS = Needs(1, only_waits=True, bears=16)
MODELS = Needs(4, only_waits=False, bears=1)


def test_a_stage_keeps_the_workers_that_take_as_many_cpus_as_its_own() -> None:
    crew = RayCrew("auto", lambda _line: None)
    first = list(crew.hands(2, SERVERS))
    assert list(crew.hands(3, SERVERS))[:2] == first
    models = crew.hands(2, MODELS)
    assert [one.cpus for one in models] == [4, 4]


def test_workers_are_ended_beside_each_other() -> None:
    class Ends:
        all_there = threading.Barrier(3)

        def close(self) -> None:
            self.all_there.wait(60)

    close_all([Ends(), Ends(), Ends()])
