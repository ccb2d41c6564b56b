"""Once: what many threads ask for at the same moment is made by the first of them, and kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from threading import RLock
from typing import TypeVar

_making = RLock()
"""One for all: what is made may ask for another thing that is."""
Asked = TypeVar("Asked", bound=Hashable)
Made = TypeVar("Made")


def once(function: Callable[[Asked], Made]) -> Callable[[Asked], Made]:
    """As `functools.cache`, where each thread would make what it does not find."""
    known: dict[Asked, Made] = {}

    @functools.wraps(function)
    def asked(what: Asked) -> Made:
        if what not in known:
            with _making:
                if what not in known:
                    known[what] = function(what)
        return known[what]

    return asked
