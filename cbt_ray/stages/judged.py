"""Judged: units of adapters and models, with what the parity gate says of them; how a stage makes
one after the other, and what it says of those that failed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from cbt_ray.errors import GateFailed, InputError
from cbt_ray.store import Blob
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.gate.verdict import Verdict
from cbt_ray.unit import Key, Stage, Status, Unit, canonical
from cbt_ray.work.bench import Bench
from cbt_ray.work.inputs import at, check_model_name
from cbt_ray.work.usage import record_run

MEASURED = frozenset(
    {"seconds", "parts_seconds", "tokens_per_second", "versions", "log_seconds", "resumed_from"}
)
"""Metrics that differ between two equal runs: they belong to the provenance."""
DIVERGED = "diverged"
"""Why a candidate of a search is rejected whose loss became no number."""
Named = Mapping[str, Any]


def wanted(bench: Bench, model: str | None) -> list[Checkpoint]:
    """The models that a command is about: one by its name, or all but those that learn from
    ratings.
    """
    check_model_name(bench.study, model)
    if model is None:
        return bench.keys.therapists
    return [made for made in bench.keys.models if made.model == model]


def make_each(
    bench: Bench,
    stage: Stage,
    owed: Iterable[Checkpoint],
    make: Callable[[Checkpoint, Path], Unit],
    then: Callable[[Key], object] = lambda _key: None,
) -> None:
    """Make what a stage owes, one after the other, each in a folder that goes afterwards; `then` is
    done once its unit is in the store.

    The instruct export comes last: what can fail after hours is done first.
    """
    ordered = sorted(owed, key=lambda made: (made.model, not made.tuned, made.seed))
    begun = time.monotonic()
    with (
        bench.progress.stage(stage, len(ordered)) as watch,
        tempfile.TemporaryDirectory(prefix="cbt-ray-") as work,
    ):
        for name, group in groupby(ordered, key=lambda made: made.model):
            first = Path(work) / name
            for made in group:
                place = first if not made.suffix else Path(work) / made.id
                unit = bench.origins.put(make(made, place))
                then(unit.key)
                # three files of a large model; what was unpacked is for both
                shutil.rmtree(place / "tuned" if place == first else place, ignore_errors=True)
                watch(str(unit.key), unit.status)
            shutil.rmtree(first, ignore_errors=True)
    record_run(bench.store, bench.study.study, stage, time.monotonic() - begun)


def settle_each(made: Iterable[Checkpoint], settle: Callable[[Checkpoint], None]) -> None:
    """Settle one after the other; raises the first GateFailed after the last."""
    failed: GateFailed | None = None
    for one in made:
        try:
            settle(one)
        except GateFailed as error:
            failed = failed or error
    if failed:
        raise failed


def unit_of(
    key: Key,
    content: Named,
    metrics: Named,
    source: Named,
    made_from: Mapping[str, str],
    verdict: Verdict | None = None,
) -> Unit:
    """A unit with its metrics; rejected where a verdict says so, with all that there is of it."""
    own = metrics if verdict is None else {**metrics, "gate": verdict.to_json()["checks"]}
    by = {
        "cbt_ray": version("cbt-ray"),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "measured": {name: value for name, value in own.items() if name in MEASURED},
    }
    by |= {"base": dict(source)} if source else {}
    lasting = {name: value for name, value in own.items() if name not in MEASURED}
    failed = verdict.failed if verdict is not None else ()
    status, reason = (
        (Status.REJECTED, f"parity: {', '.join(failed)}") if failed else (Status.DONE, None)
    )
    return Unit(
        key, {**content, "metrics": lasting}, status, reason, provenance=by, made_from=made_from
    )


def stored(bench: Bench, key: Key, files: Mapping[str, Path]) -> dict[str, Blob]:
    """Bring files into the store, under the names by which a unit knows them."""
    return {
        name: bench.store.put_blob(key, name.replace("/", "-"), file)
        for name, file in files.items()
    }


def listed(blobs: Mapping[str, Blob]) -> dict[str, Any]:
    """Files of the store as a unit names them."""
    return {name: blob.to_json() for name, blob in blobs.items()}


def gate_failed(bench: Bench, made: Checkpoint, unit: Unit) -> GateFailed:
    """What failed, and what is to be done about it."""
    failed = [check for check in unit.content["metrics"]["gate"] if check["passed"] is False]
    said = "; ".join(
        f"{one['name']}: expected {one['expected']}, found {canonical(one['measured']).decode()}"
        for one in failed
    )
    if unit.key.stage is Stage.ADAPTER:
        then = (
            "it was not trained, since no training would change that: name another base, or a "
            "revision of it"
        )
    else:
        again = bench.command(Stage.MODEL, "--model", made.model, "--retry-rejected")
        then = f"its files are kept ({unit.key}); to export and judge it again: {again}"
    return GateFailed(
        f"{bench.study.file}: models.{made.model}: the {made.kind} model"
        f"{f' of seed + {made.seed}' if made.seed else ''} failed its parity gate ({said}); "
        f"{then}"
    )


@contextmanager
def in_recipe(bench: Bench, model: str) -> Iterator[None]:
    """Say in which file and recipe a field is, where an InputError begins with one.

    What a store refuses has neither.
    """
    try:
        yield
    except InputError as error:
        begins = re.match(r"\w+", str(error))
        if begins and begins[0] in Recipe.model_fields:
            with at(bench.study, f"models.{model}.recipe"):
                raise
        raise
