"""Which intervals hold their level at how many patients: read from a simulation with known truth,
which anyone can repeat.

`calibration.json` is written by `python -m tests.analysis.effect.calibration`; docs/statistics.md
shows it as a table.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cbt_ray.count import many

HOLDS = (0.93, 0.97)
"""Coverage of a 95 % interval that counts as holding its level."""
FILE = Path(__file__).with_name("calibration.json")


@cache
def calibration() -> dict[str, Any]:
    """Method -> patients -> coverage and type-I error, with how it was simulated."""
    document: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return document


def of_seeds(plus: int, minus: int) -> str:
    """The method's name for as many training seeds of two arms, or the nearest smaller numbers that
    were simulated.
    """
    several = [count for count in (plus, minus) if count > 1]
    name = f"training seeds on {'both sides' if len(several) > 1 else 'one side'}"
    known = [int(method.split()[0]) for method in calibration()["methods"] if method.endswith(name)]
    return f"{max(count for count in known if count <= min(several))} {name}"


def broken(method: str, patients: int, evenness: float = 1.0) -> str | None:
    """Why an interval by `method` is withheld at this number of patients.

    None where it was seen to hold its level.

    The nearest smaller number that was simulated counts: more patients only help. `evenness`:
    sessions of the shortest chain over those of the longest; what is less even than what was
    simulated is withheld.
    """
    least = calibration()["least_evenness"].get(method, 0.0)
    if evenness < least:
        tried = f"by {method} it was tried down to {least:.0%}"
        return (
            f"withheld: the shortest chain has {evenness:.0%} of the longest one's sessions; "
            f"{tried}"
        )
    known = {int(number): row for number, row in calibration()["methods"][method].items()}
    below = [number for number in known if number <= patients]
    if not below:
        return f"withheld: by {method}, no simulation had {many(patients, 'patient')}"
    coverage = known[max(below)]["coverage"]
    if HOLDS[0] <= coverage <= HOLDS[1]:
        return None
    return (
        f"withheld: a 95 % interval by {method} covers {coverage:.1%} at "
        f"{many(max(below), 'patient')}, and not 95 %"
    )
