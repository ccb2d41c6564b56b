"""Report: gathers what the store holds of a study and renders the page.

Written as a unit, and for people as report.html.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cbt_ray.errors import Owed
from cbt_ray.stages.evidence import Reading, gather
from cbt_ray.stages.tables import write_tables
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench

if TYPE_CHECKING:
    from cbt_ray.report import Where

FILE = "report.html"


def write_report(bench: Bench, transcripts: Where | None = None) -> str:
    """Write the report, unless it is there as it is wanted; answers where it lies.

    Raises Owed where the analysis is owed.

    `transcripts`: inside the page, in files beside it, or none; left open, they go beside where
    they are large.
    """
    key, path = bench.keys.report(), f"{bench.study.study}/{FILE}"
    survey, analysis = bench.renewed(*Stage), bench.store.get(bench.keys.analysis())
    if analysis is None or survey.owed(Stage.ANALYSIS):
        raise Owed(f"report: the analysis is owed; run first: {bench.command(Stage.ANALYSIS)}")

    def made() -> Unit:
        from cbt_ray.analysis import ScoreRow
        from cbt_ray.report import render

        reading = Reading(bench.keys, bench.store)
        evidence = gather(bench, reading, analysis)
        page = render(evidence, transcripts)
        beside = {
            f"{bench.study.study}/{name}": text.encode() for name, text in page.beside.items()
        }
        _write_beside(bench, beside)
        bench.store.replace(path, page.html.encode())
        rows = map(ScoreRow.from_json, analysis.content["rows"])
        write_tables(bench, rows, evidence.analysis)
        written = {path: page.html.encode(), **beside}
        files = {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
        by = {"files": files, "transcripts": page.where}
        return Unit(key, {"file": path}, provenance=by, made_from=reading.record(key))

    known = bench.store.get(key)
    if known is not None and (survey.owed(Stage.REPORT) or not _stands(bench, known, transcripts)):
        # A file is gone, or is that of another version of the study file (one path serves all),
        # other transcripts are wanted, or what it shows is being made again.
        survey = bench.without(known)
    bench.once(survey, key, made)
    return f"{bench.store.url}/{path}"


def _write_beside(bench: Bench, files: dict[str, bytes]) -> None:
    """Write the files of transcripts.

    Those that an earlier page left and this one has no use for go.
    """
    from cbt_ray.report.transcripts import FOLDER

    for name, data in files.items():
        bench.store.replace(name, data)
    for left in set(bench.store.list(f"{bench.study.study}/{FOLDER}/")) - set(files):
        bench.store.delete(left)


def _stands(bench: Bench, known: Unit, transcripts: Where | None) -> bool:
    """Whether the report that was written is there, whole, and with its transcripts where they are
    wanted.
    """
    if transcripts not in (None, known.provenance.get("transcripts")):
        return False
    files = known.provenance.get("files", {})
    return bool(files) and all(
        hashlib.sha256(bench.store.read(name) or b"").hexdigest() == digest
        for name, digest in files.items()
    )
