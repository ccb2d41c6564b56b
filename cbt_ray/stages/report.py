"""Report: gathers what the store holds of a study and renders the page. Written as a unit, and for people as report.html."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cbt_ray.errors import Owed
from cbt_ray.stages.evidence import gather
from cbt_ray.stages.tables import write_tables
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench

if TYPE_CHECKING:
    from cbt_ray.report import Where

FILE = "report.html"


def write_report(bench: Bench, transcripts: Where | None = None) -> str:
    """Write the report, unless it is there as it is wanted; answers where it lies. Raises Owed where the analysis is owed.

    `transcripts`: inside the page, in files beside it, or none; left open, they go beside where they are large.
    """
    key, path = bench.keys.report(), f"{bench.study.study}/{FILE}"
    analysis = bench.store.get(bench.keys.analysis())
    if analysis is None:
        raise Owed(f"{bench.study.file}: the analysis is owed; run evaluate first")

    def make() -> None:
        from cbt_ray.report import render

        evidence = gather(bench, analysis)
        page = render(evidence, transcripts)
        beside = {f"{bench.study.study}/{name}": text.encode() for name, text in page.beside.items()}
        _write_beside(bench, beside)
        bench.store.replace(path, page.html.encode())
        write_tables(bench, analysis.content["rows"], evidence.analysis)
        files = {name: hashlib.sha256(data).hexdigest() for name, data in {path: page.html.encode(), **beside}.items()}
        bench.store.put(Unit(key, {"file": path}, provenance={"files": files, "transcripts": page.where}))

    known = bench.store.get(key)
    if known is not None and not _stands(bench, known, transcripts):
        # A file is gone, or is that of another version of the study file (one path serves all), or other transcripts are wanted.
        bench.store.set_aside(str(key), seen=known.to_bytes())
    bench.once(Stage.REPORT, key, make)
    return f"{bench.store.url}/{path}"


def _write_beside(bench: Bench, files: dict[str, bytes]) -> None:
    """Write the files of transcripts; those that an earlier page left and this one has no use for go."""
    from cbt_ray.report.transcripts import FOLDER

    for name, data in files.items():
        bench.store.replace(name, data)
    for left in set(bench.store.list(f"{bench.study.study}/{FOLDER}/")) - set(files):
        bench.store.delete(left)


def _stands(bench: Bench, known: Unit, transcripts: Where | None) -> bool:
    """Whether the report that was written is there, whole, and with its transcripts where they are wanted."""
    if transcripts not in (None, known.provenance.get("transcripts")):
        return False
    files = known.provenance.get("files", {})
    return bool(files) and all(
        hashlib.sha256(bench.store.read(name) or b"").hexdigest() == digest for name, digest in files.items()
    )
