"""The texts of licences that came with a model: what is tuned from it carries them along."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cbt_ray.llm.gguf_file import PACKAGE, distribution_of

_TEXT, _BESIDE = r"licen[cs]e|copying", r"notice|use[-_]policy"
_END = r"([-_.].*)?"


def is_licence_text(name: str) -> bool:
    """Whether a file of a model or package is called as licences, notices and policies of use
    are.
    """
    return re.fullmatch(f"({_TEXT}|{_BESIDE}){_END}", name, re.IGNORECASE) is not None


def holds_licence(name: str) -> bool:
    """Whether it is called as the text of a licence itself is."""
    return re.fullmatch(f"({_TEXT}){_END}", name, re.IGNORECASE) is not None


def licence_texts(start: str, folder: Path) -> tuple[Path, ...]:
    """The files, of the Python package that a recipe's `start` names or else of the model's folder.

    Sorted, often none.
    """
    found = _of_package(start) if start.startswith(PACKAGE) else folder.iterdir()
    by_name = {file.name: file for file in found if is_licence_text(file.name) and file.is_file()}
    return tuple(file for _, file in sorted(by_name.items()))


def _of_package(start: str) -> list[Path]:
    name = distribution_of(start.removeprefix(PACKAGE).partition("/")[0])
    try:
        installed = distribution(name)
    except PackageNotFoundError:  # a module that nobody installed, on the path by itself
        return []
    files = [file for file in installed.files or [] if ".dist-info" in file.parts[0]]
    # What lies deeper is of code that the package brings along: of one name the file that lies
    # highest counts.
    return [
        Path(str(installed.locate_file(file)))
        for file in sorted(files, key=lambda file: -len(file.parts))
    ]
