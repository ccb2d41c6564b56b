"""The manifest: which units of a study were imported.

A JSON file beside the study file, which names it under `imported`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.imports.units import digests, store_units
from cbt_ray.reading import located, read_fields, read_text
from cbt_ray.store import open_store
from cbt_ray.study import Study, load_study
from cbt_ray.study.block import as_name
from cbt_ray.study.complaint import refusal
from cbt_ray.study.imported import Imported, ImportedJudge
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.inputs import at

FIELD = "imported"
SUFFIX = ".imported.json"


@dataclass(frozen=True)
class Manifest:
    """The file and what it holds."""

    file: Path
    content: Imported

    def with_units(self, units: Iterable[Unit], source: str) -> Manifest:
        """With units beside those of earlier imports; one that is there is replaced."""
        new = list(units)
        own = {
            stage.value: dict(
                sorted({**getattr(self.content, stage.value), **digests(new, stage)}.items())
            )
            for stage in (Stage.PROFILES, Stage.COURSES, Stage.SESSIONS)
        }
        update = {**own, "sources": _with(self.content.sources, source)}
        return Manifest(self.file, self.content.model_copy(update=update))

    def published_as(self, mapping: str) -> Manifest:
        """With the mapping by which `analyze` reads the ratings as they were published."""
        return Manifest(self.file, self.content.model_copy(update={"mapping": mapping}))

    def with_judge(
        self,
        name: str,
        kind: str,
        ratings: Iterable[Unit],
        source: str,
        *,
        complete: bool,
        who: str,
    ) -> Manifest:
        """With somebody's ratings; `complete`: every session was to be rated; `who`: which model.

        Those that the judge gave before stay, unless they are given anew.
        """
        known = self.content.judges.get(name)
        own = {**(known.ratings if known else {}), **digests(ratings, Stage.RATINGS)}
        every = complete or (known is not None and known.complete)
        judge = ImportedJudge.model_validate(
            {
                "kind": kind,
                "who": who or (known.who if known else ""),
                "complete": every,
                "ratings": dict(sorted(own.items())),
            }
        )
        judges = {**self.content.judges, name: judge}
        return Manifest(
            self.file,
            self.content.model_copy(
                update={"judges": judges, "sources": _with(self.content.sources, source)}
            ),
        )

    def write(self) -> bool:
        """Write it, whole or not at all; False where the file says the same already."""
        text = json.dumps(self.content.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
        if self.file.exists() and read_text(self.file) == text:
            return False
        write_whole(self.file, text.encode())
        return True


def _with(sources: tuple[str, ...], source: str) -> tuple[str, ...]:
    return sources if source in sources else (*sources, source)


def named_in(study_file: Path) -> Path | None:
    """The manifest that a study file names, there or not; None where it names none.

    Raises InputError, one line.
    """
    named = read_fields(study_file).get(FIELD)
    if named is None:
        return None
    if not isinstance(named, str) or not named.endswith(".json"):
        raise InputError(
            f"{study_file}: {FIELD}: expected the name of a JSON file, which an import writes"
        )
    return located(named, study_file.parent)


def default_for(study_file: Path) -> Path:
    """Where the manifest of a study file lies, unless it says otherwise."""
    return study_file.with_name(f"{study_file.stem}{SUFFIX}")


def read_manifest(file: Path) -> Manifest:
    """Read a manifest; an empty one where there is none yet. Raises InputError, one line."""
    if not file.exists():
        return Manifest(file, Imported())
    try:
        return Manifest(file, Imported.model_validate(read_fields(file)))
    except ValidationError as error:
        raise refusal(error, Imported, f"{file}: ") from None


def line_for(study_file: Path, manifest: Path) -> str:
    """The line by which a study file names its manifest."""
    return f"{FIELD}: {os.path.relpath(manifest, study_file.parent)}"


def name_in(study_file: Path, manifest: Path) -> None:
    """Append the line that names the manifest to a study file."""
    text = read_text(study_file)
    gap = "" if text.endswith("\n") else "\n"
    write_whole(study_file, f"{text}{gap}{line_for(study_file, manifest)}\n".encode())


def open_study(
    study_file: Path,
    overrides: Mapping[str, Any],
    text: Callable[[Path], str] | None,
    say: Callable[[str], object],
) -> tuple[Study, Manifest]:
    """The study that is imported into, and its manifest; the study file is written first where
    there is none.

    `text` composes a study file that names this manifest; without it there must be one. Raises
    InputError, one line.
    """
    if study_file.exists():
        named = named_in(study_file)
        if named is None:
            wanted = line_for(study_file, default_for(study_file))
            raise InputError(
                f"{study_file}: imported: expected the line `{wanted}`, add it and import again"
            )
        return load_study(study_file, dict(overrides), without=(FIELD,)), read_manifest(named)
    if text is None:
        raise InputError(f"{study_file}: expected a study file, there is none")
    manifest = default_for(study_file)
    composed = text(manifest)
    try:
        write_whole(study_file, composed.encode())
    except OSError as error:
        raise InputError(
            f"{study_file}: expected a place that can be written ({error.strerror})"
        ) from None
    try:
        study = load_study(study_file, dict(overrides), without=(FIELD,))
    except InputError:
        study_file.unlink()  # --set was wrong, or what was found makes no study
        raise
    say(f"{study_file} written, for what was found")
    return study, read_manifest(manifest)


def study_name(study_file: Path) -> str:
    """The name of a study by that of its file."""
    return as_name(study_file.stem) or "imported"


def keep(
    study: Study,
    manifest: Manifest,
    units: Sequence[Unit],
    found: str,
    remarks: Mapping[str, int],
    say: Callable[[str], object],
) -> None:
    """Store units, list them in the manifest, and say so."""
    with at(study):
        store = open_store(study.store)
        store.check()
    stored = store_units(store, study, units)
    filled = manifest.with_units(units, found)
    written = "written" if filled.write() else "is as it was"
    for remark, count in remarks.items():
        say(f"imported, but {remark}: {count}")
    say(f"{found}: {many(stored.units, 'unit')}, {stored.new} of them new, in {store.url}")
    say(f"{filled.file} {written}")


def write_whole(file: Path, data: bytes) -> None:
    """Write a file whole, or not at all: a run that is killed leaves what was there."""
    place = file.resolve()  # a study file may be a link; the link stays
    temporary = place.with_name(f".{file.name}.{os.getpid()}.part")
    temporary.write_bytes(data)
    temporary.replace(place)
