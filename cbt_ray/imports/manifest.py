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

from cbt_ray.errors import InputError
from cbt_ray.imports.remark import Remark
from cbt_ray.imports.units import digests
from cbt_ray.reading import located, read_fields, read_text
from cbt_ray.study import Study, load_study
from cbt_ray.study.complaint import refusal
from cbt_ray.study.imported import Imported, ImportedJudge
from cbt_ray.unit import Stage, Unit

FIELD = "imported"
SUFFIX = ".imported.json"
PUBLISHED = "published: "
"""How the source begins that `import cbt` names."""


@dataclass(frozen=True)
class Manifest:
    """The file and what it holds."""

    file: Path
    content: Imported

    def with_published(
        self,
        units: Sequence[Unit],
        judge: tuple[str, str] | None,
        ratings: Sequence[Unit],
        source: str,
        mapping: str,
    ) -> Manifest:
        """With what `import cbt` brought in place of what it brought before; other judges stay.

        `judge`: its name, and which model it was. `mapping`: that of the table of its scores.
        """
        judges = dict(self.content.judges)
        if judge is not None:
            name, who = judge
            judges[name] = ImportedJudge(
                kind="model", who=who, complete=True, ratings=digests(ratings, Stage.RATINGS)
            )
        own = {
            stage.value: digests(units, stage)
            for stage in (Stage.PROFILES, Stage.COURSES, Stage.SESSIONS)
        }
        others = tuple(
            one for one in self.content.sources if one == source or not one.startswith(PUBLISHED)
        )
        more = {"mapping": mapping if judge else None, "sources": _with(others, source)}
        return Manifest(self.file, Imported.model_validate({**own, "judges": judges, **more}))

    def with_sessions(self, units: Sequence[Unit], source: str) -> Manifest:
        """With sessions beside those of earlier imports; one that is there is replaced."""
        sessions = {**self.content.sessions, **digests(units, Stage.SESSIONS)}
        update = {
            "sessions": dict(sorted(sessions.items())),
            "sources": _with(self.content.sources, source),
        }
        return Manifest(self.file, self.content.model_copy(update=update))

    def with_judge(self, name: str, kind: str, ratings: Iterable[Unit], source: str) -> Manifest:
        """With somebody's ratings.

        Those that the judge gave before stay, unless they are given anew.
        """
        known = self.content.judges.get(name)
        own = {**(known.ratings if known else {}), **digests(ratings, Stage.RATINGS)}
        fields = {"who": known.who, "complete": known.complete} if known else {}
        judge = ImportedJudge.model_validate(
            {"kind": kind, **fields, "ratings": dict(sorted(own.items()))}
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

    @property
    def notes(self) -> Path:
        """The file with the remarks of the last import of what was published."""
        return self.file.with_name(f"{self.file.name.removesuffix('.json')}.txt")

    def write_notes(self, remarks: Iterable[Remark]) -> None:
        """Write remarks, a line each."""
        write_whole(
            self.notes,
            "".join(f"{remark}\n" for remark in remarks).encode("utf-8", "backslashreplace"),
        )


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
    text: Callable[[Path], str],
    say: Callable[[str], object],
) -> tuple[Study, Manifest]:
    """The study that is imported into, and its manifest; the study file is written first where
    there is none.

    `text` composes a study file that names this manifest. Raises InputError, one line.
    """
    if study_file.exists():
        named = named_in(study_file)
        if named is None:
            wanted = line_for(study_file, default_for(study_file))
            raise InputError(
                f"{study_file}: imported: expected the line `{wanted}`, add it and import again"
            )
        return load_study(study_file, dict(overrides), without=(FIELD,)), read_manifest(named)
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


def write_whole(file: Path, data: bytes) -> None:
    """Write a file whole, or not at all: a run that is killed leaves what was there."""
    place = file.resolve()  # a study file may be a link; the link stays
    temporary = place.with_name(f".{file.name}.{os.getpid()}.part")
    temporary.write_bytes(data)
    temporary.replace(place)
