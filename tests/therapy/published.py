"""The published simulated sessions, where they are at hand, with our labels for them."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cbt_ray.published.cbt.simulated import read_simulated
from cbt_ray.therapy.session import Session
from cbt_ray.therapy.stop import StopReason
from tests.needs import needs

LABELS = Path(__file__).parents[1] / "labels" / "flags.csv"
FOLDER = "CBT_Depression_Simulations_"


@dataclass(frozen=True)
class Labelled:
    """A published session, why it ended (also in the words of its file), and the line of the label
    file that is its own.
    """

    session: Session
    stop: StopReason
    details: str
    label: dict[str, str]


def labels() -> list[dict[str, str]]:
    with LABELS.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def published() -> list[Labelled]:
    """All labelled sessions, from the folder that CBT_RAY_PUBLISHED names.

    Other sessions beside them are left alone.
    """
    folder = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "cbt" / "CBT_Simulations"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and folder.is_dir())
    return _read(folder)


@lru_cache(maxsize=1)
def _read(folder: Path) -> list[Labelled]:
    known = {label["file"]: label for label in labels()}
    found = []
    for path in sorted(folder.glob(f"*/{FOLDER}*/session_*.txt")):
        data = path.read_bytes()
        label = known.get(hashlib.sha256(data).hexdigest()[:16])
        if label:
            read = read_simulated(path.name, data.decode())
            written, patient = read.written, path.parent.name.removeprefix(FOLDER)
            session = Session(
                patient, read.number or 0, "", written.opening, written.turns, written.summary
            )
            found.append(
                Labelled(session, read.stop, written.stopped[1] if written.stopped else "", label)
            )
    return found
