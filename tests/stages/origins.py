"""A scripted study whose model never says the same twice, ways to harm what it made, and what must
hold of its store.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import prepare, run
from cbt_ray.llm import scripted as scripted_model
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.unit import Stage, Status, Unit, digest
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages import scripted

CHAINED = {"sessions": {"count": 3, "max_messages": 6}}


def study_file(folder: Path, **changes: Any) -> Path:
    """A study of two arms, two patients, three sessions each, and three courses of two.

    With probes, without training.
    """
    document = scripted.study_document(folder / "store", **CHAINED, **changes)
    document["phases"][0]["sessions"] = [1, 3]
    document["raters"]["judge"] |= {"probes": {"which": ["empty", "swapped"], "sessions": 2}}
    return scripted.write_study(folder, document)


def restless() -> None:
    """From now on the scripted model answers by chance: what is made again has other words."""
    scripted_model._fingerprint = lambda request: random.SystemRandom().getrandbits(64)


def older(store: Path) -> list[str]:
    """Units that are older than what they were made from: their record names another text than the
    one that is there.
    """
    found = whole(store)
    said = {key: digest([unit.status, unit.reason, unit.content]) for key, unit in found.items()}
    return [
        f"{key}: made from another {one}"
        for key, unit in found.items()
        for one, recorded in unit.made_from.items()
        if said.get(one, recorded) != recorded
    ]


def whole(store: Path) -> dict[str, Unit]:
    """All units that can be read."""
    folder, found = FolderStore(store), {}
    for path in folder.list("rehearsal/"):
        if path.split("/")[1] in set(Stage):
            try:
                found[path] = Unit.from_bytes(folder.read(path) or b"")
            except ValueError:
                continue
    return found


def check_consistent(file: Path) -> None:
    """Nothing is owed, every record is that of the units that are there, and every text is made
    from those that are there.
    """
    bench = Bench(load_study(file), Silent(), inline=True)
    survey, units = bench.survey(*Stage), whole(file.parent / "store")
    assert [key for stage in Stage for key in survey.owed(stage) if stage is not Stage.MODEL] == []
    own = {key for keys in bench.keys.all().values() for key in keys}
    assert set(units) <= set(map(str, own)), "a unit is there that the study does not derive"
    for key in own:
        if str(key) in units:
            known = {
                str(one): units[str(one)].digest
                for one in bench.keys.inputs(key)
                if str(one) in units
            }
            assert units[str(key)].made_from == known, key
    _check_texts(bench, units)


def _check_texts(bench: Bench, units: dict[str, Unit]) -> None:
    keys, page = bench.keys, (bench.store.read("rehearsal/report.html") or b"").decode()
    chains = [keys.chain(*chain) for chain in keys.chains()]
    chains += [[keys.course(n, s) for s in (1, 2)] for n in (1, 2, 3)]
    for chain in chains:
        for before, after in pairwise(chain):
            if str(after) in units and units[str(after)].status is Status.DONE:
                assert units[str(after)].content["opening"] == units[str(before)].content["summary"]
    rows = {row["session_key"]: row for row in units[str(keys.analysis())].content["rows"]}
    for key in keys.sessions():
        unit = units.get(str(key))
        if unit is not None and unit.status is Status.DONE:
            assert rows[str(key)]["words"] == sum(
                len(turn["text"].split()) for turn in unit.content["turns"]
            )
            assert unit.content["turns"][1]["text"][:60] in page, "the report shows another text"
            (rating,) = keys.ratings_of(key)
            if units[str(rating)].status is Status.DONE:
                assert (
                    rows[str(key)]["total"]
                    == units[str(rating)].content["measures"]["total"]["value"]
                )
    files = units[str(keys.dataset())].content["files"]
    text = b"".join(bench.store.read(blob["path"]) or b"" for blob in files.values()).decode()
    for key in keys.courses():
        unit = units.get(str(key))
        if unit is not None and unit.status is Status.DONE:
            said = [
                turn["text"] for turn in unit.content["turns"] if turn["speaker"] == "therapist"
            ]
            assert all(words[:40] in text for words in said), "the dataset holds another text"


class Killed(BaseException):
    """The process is dead: whatever it tries to write from now on does not arrive."""


@contextmanager
def killed_at(write: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A process that dies just before its write number `write` to the store.

    The list counts its writes.
    """
    count = [0]

    def dying(original: Any) -> Any:
        def either(*arguments: Any) -> Any:
            count[0] += 1
            if count[0] >= write:
                raise Killed
            return original(*arguments)

        return either

    with monkeypatch.context() as patched:
        for name in ("create", "replace", "move", "delete", "upload"):
            patched.setattr(FolderStore, name, dying(getattr(FolderStore, name)))
        yield count


def main() -> None:
    """The command line with a restless model, in a process that can be killed."""
    prepare()
    restless()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
