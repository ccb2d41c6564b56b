"""A clone of the public repository of arXiv 2509.09712, or a part of it: which profiles,
transcripts and judge's texts lie in it.

standardized_patient_profiles.json
simulation_outputs_<variant>/simulation_<n>_full_transcript.txt, ..._clean_dialogue.txt,
..._patient_profile.txt
final_evaluations_<date>/full_text_evaluations/<variant>/eval_session_<n>.txt
final_evaluations_<date>/evaluation_results_with_parsing_health.csv
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.published.act.variant import BY_FOLDER, Variant
from cbt_ray.published.remark import Remark
from cbt_ray.published.source import Clone, check_places, folders, table_beside

PROFILES = "standardized_patient_profiles.json"
SESSIONS, JUDGED = "simulation_outputs_", "full_text_evaluations"
TABLE = "evaluation_results_with_parsing_health.csv"
_SESSION = re.compile(
    r"simulation_([1-9]\d{0,3})_(full_transcript|clean_dialogue|patient_profile)\.txt"
)
_JUDGED = re.compile(r"eval_session_([1-9]\d{0,3})\.txt")
_LOG = "simulation_run.log"


@dataclass(frozen=True)
class Held:
    """The files of one session, each by its path."""

    transcript: str | None = None
    dialogue: str | None = None
    """What its judge read."""
    profile: str | None = None


@dataclass(frozen=True)
class VariantFiles:
    """What there is of one therapist, by the number of the profile that it was held with."""

    variant: Variant
    sessions: dict[int, Held]
    judged: dict[int, str]


@dataclass(frozen=True)
class Repository(Clone):
    """What is in a clone. Paths are inside it."""

    profiles: str | None
    variants: tuple[VariantFiles, ...]
    table: Path | None
    """The published table of scores: of the clone, beside it, or named on the command line."""
    remarks: tuple[Remark, ...]


def open_repository(root: Path, scores: Path | None = None) -> Repository:
    """Look through a clone; `scores` is a table of scores from elsewhere.

    Raises InputError where nothing of it is there.
    """
    check_places(root, scores)
    remarks: list[Remark] = []
    results = _results(root, remarks)
    sessions = _by_variant(root, folders(root), SESSIONS, remarks)
    judged = _by_variant(root, folders(results / JUDGED) if results else [], "", remarks)
    found = tuple(
        VariantFiles(
            variant,
            _sessions(root, sessions.get(name), remarks),
            _judged(root, judged.get(name), remarks),
        )
        for name, variant in BY_FOLDER.items()
    )
    if not any(one.sessions for one in found):
        raise InputError(
            f"{root}: expected {SESSIONS}<variant>/simulation_<n>_full_transcript.txt, found none"
        )
    profiles = PROFILES if (root / PROFILES).is_file() else None
    return Repository(root, profiles, found, scores or _table(root, results), tuple(remarks))


def _results(root: Path, remarks: list[Remark]) -> Path | None:
    """The folder of the judge's texts; of several the last by its name."""
    found = [path for path in folders(root) if (path / JUDGED).is_dir()]
    for earlier in found[:-1]:
        said = f"there is a later folder of judge's texts, {found[-1].name}"
        remarks.append(Remark(earlier.name, 0, said, lost=True))
    return found[-1] if found else None


def _table(root: Path, results: Path | None) -> Path | None:
    """The clone's own table, or one that is beside it under its name."""
    own = results / TABLE if results else None
    return own if own and own.is_file() else table_beside(root)


def _by_variant(
    root: Path, found: list[Path], prefix: str, remarks: list[Remark]
) -> dict[str, Path]:
    """Variant's folder name -> folder, of those that begin with a prefix."""
    known = {}
    for folder in found:
        name = folder.name.removeprefix(prefix)
        if not folder.name.startswith(prefix):
            continue
        if name not in BY_FOLDER:
            said = f"expected one of the variants {', '.join(BY_FOLDER)}"
            remarks.append(Remark(str(folder.relative_to(root)), 0, said, lost=True))
            continue
        known[name] = folder
    return known


def _sessions(root: Path, folder: Path | None, remarks: list[Remark]) -> dict[int, Held]:
    found: dict[int, dict[str, str]] = {}
    for path, name in _files(root, folder, _SESSION, "simulation_1_full_transcript.txt", remarks):
        kind = name[2].rpartition("_")[2]
        found.setdefault(int(name[1]), {})[kind] = path
    return {number: Held(**found[number]) for number in sorted(found)}


def _judged(root: Path, folder: Path | None, remarks: list[Remark]) -> dict[int, str]:
    files = _files(root, folder, _JUDGED, "eval_session_1.txt", remarks)
    found = {int(name[1]): path for path, name in files}
    return dict(sorted(found.items()))


def _files(
    root: Path, folder: Path | None, form: re.Pattern[str], example: str, remarks: list[Remark]
) -> Iterator[tuple[str, re.Match[str]]]:
    """The files of a folder whose names have a form, and their names; others are remarked on."""
    for file in sorted(folder.iterdir()) if folder else ():
        path, name = str(file.relative_to(root)), form.fullmatch(file.name)
        if name:
            yield path, name
        elif not file.name.startswith(".") and file.name != _LOG:
            remarks.append(Remark(path, 0, f"expected a name such as {example}", lost=True))
