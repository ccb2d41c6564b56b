"""What was published with arXiv 2412.00251: a clone of its repository becomes courses, sessions and
ratings of a study.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.imports.harvest import JUDGE, Harvest
from cbt_ray.imports.manifest import PUBLISHED, Manifest, open_study, read_manifest
from cbt_ray.imports.published import Published, read_published
from cbt_ray.imports.remark import Remark
from cbt_ray.imports.repository import Repository, open_repository
from cbt_ray.imports.study_file import compose, fit
from cbt_ray.imports.units import store_units
from cbt_ray.store import open_store
from cbt_ray.study import Study
from cbt_ray.work.inputs import at
from cbt_ray.work.outcome import imported_with
from cbt_ray.work.workplace import prompts_of

Say = Callable[[str], object]


def import_cbt(
    root: Path, study_file: Path, scores: Path | None, overrides: Mapping[str, Any], say: Say
) -> None:
    """Read a clone and store what it holds; write the study file where there is none.

    Raises InputError where there is nothing to import, or where a study file that is there does not
    fit.
    """
    repository = open_repository(root, scores)
    published = read_published(repository)
    found = summary_of(published)
    if not published.courses and not published.chains:
        first = next((f": {remark}" for remark in published.remarks if remark.lost), "")
        raise InputError(f"{root}: expected transcripts that can be read, found none{first}")
    say(
        f"found {found}"
        + (f"; {repository.parts} files are parts of these sessions" if repository.parts else "")
    )
    study, manifest = open_study(
        study_file,
        overrides,
        lambda manifest: _composed(published, study_file, manifest, repository, found),
        say,
    )
    arms = fit(study, published)
    with at(study, "raters"):
        scale, _ = imported_with(study, prompts_of(study), None)
        harvest = Harvest(study, scale, repository.commit)
    harvest.take(published, arms)
    with at(study):
        store = open_store(study.store)
        store.check()
    stored = store_units(store, study, [*harvest.units, *harvest.ratings])
    judge = JUDGE if published.has_ratings else None
    filled = manifest.with_published(
        harvest.units, judge, harvest.ratings, f"{PUBLISHED}{found} of {root.name}{_at(repository)}"
    )
    remarks = [*published.remarks, *harvest.remarks, *_namesakes(study, published)]
    written = "written" if filled.write() else "is as it was"
    filled.write_notes(remarks)
    _tell(remarks, filled, say)
    say(f"{stored.units} units, {stored.new} of them new, in {store.url}; {filled.file} {written}")


def summary_of(published: Published) -> str:
    """How much was read, in words."""
    held = [
        (chain.group.folder, file.id)
        for chain in published.chains
        for file in chain.sessions.values()
    ]
    here = sum(place in published.ratings for place in held)
    courses = sum(len(course.sessions) for course in published.courses)
    said = (
        [f"{courses} course sessions of {len(published.courses)} sets"] if published.courses else []
    )
    if published.chains:
        therapists, patients = len(published.groups), len(published.patients)
        said.append(
            f"{len(held)} simulated sessions of {therapists} therapists with {patients} patients"
        )
        said.append(f"{here} ratings of them" if published.tables else "no score tables")
    return ", ".join(said)


def _composed(
    published: Published, study_file: Path, manifest: Path, repository: Repository, found: str
) -> str:
    notes = read_manifest(manifest).notes
    if notes.exists() and not manifest.exists():
        raise InputError(
            f"{notes}: expected room for the remarks of this import, the file is there and no "
            "import's; move it"
        )
    return compose(published, study_file, manifest, repository.root.resolve().name, found)


def _at(repository: Repository) -> str:
    return f" at {repository.commit[:12]}" if repository.commit else ""


def _namesakes(study: Study, published: Published) -> list[Remark]:
    """Training patients with the first name of a simulated one: the sets were to be disjoint."""
    simulated = {patient.name.casefold().split()[0] for patient in study.patients.simulated}
    alike = [
        course for course in published.courses if course.name.casefold().split()[0] in simulated
    ]
    return [
        Remark(course.folder, 0, "a simulated patient has the same first name") for course in alike
    ]


def _tell(remarks: list[Remark], manifest: Manifest, say: Say) -> None:
    """What could not be read, a line each; of the rest how much there is of each kind."""
    lost = [remark for remark in remarks if remark.lost]
    for remark in lost:
        say(str(remark))
    if lost:
        say(f"not imported: {len(lost)}")
    counts = Counter(remark.reason for remark in remarks if not remark.lost)
    for reason, count in counts.most_common():
        say(f"imported, but {reason}: {count}")
    if remarks:
        say(f"file and line of each: {manifest.notes}")
