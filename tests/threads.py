"""Threads that do something at the same moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")


def at_once(count: int, work: Callable[[int], Made]) -> list[Made]:
    """What each of so many threads makes of its number, begun together and often interrupted."""
    barrier, interval = threading.Barrier(count, timeout=600), sys.getswitchinterval()

    def begun(number: int) -> Made:
        barrier.wait()
        return work(number)

    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(begun, range(count)))
    finally:
        sys.setswitchinterval(interval)
