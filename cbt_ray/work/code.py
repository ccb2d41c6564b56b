"""The code that decides what a unit says: its module and all modules of the study's stages that
this one imports.

Only text is read and nothing is run. Comments and blank lines do not count.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
DECIDES = ("analysis", "imports", "rating", "report", "stages", "therapy", "training")
"""Packages that decide numbers and pages. What the others bring from store and study file is the
same whatever their code."""
DATA = {".j2", ".css", ".js", ".json", ".yaml"}
_STRING_OR_COMMENT = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<quote>"{3}|'{3}).*?(?P=quote)|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'""",
    re.DOTALL,
)
_FROM = re.compile(
    r"^[ \t]*from[ \t]+(cbt_ray[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]+)", re.MULTILINE
)
_NAME = re.compile(r"(\w+)(?:\s+as\s+\w+)?")
_IMPORT = re.compile(r"^[ \t]*import[ \t]+(cbt_ray\.[\w.]+)", re.MULTILINE)


@cache
def code_digest(root: str) -> str:
    """Sixteen digits for the code of a module, named with dots: another one where any of it
    says something else.
    """
    files = sorted(closure(root))
    data = (
        file
        for folder in sorted({file.parent for file in files})
        for file in sorted(folder.iterdir())
    )
    parts = [f"{_name(file)}\n{without_comments(_text(file))}" for file in files]
    parts += [f"{_name(file)}\n{_text(file)}" for file in data if file.suffix in DATA]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def closure(root: str) -> set[Path]:
    """The files of a module and of all that it imports, within functions too, as far as they decide
    what a unit says.
    """
    found: set[Path] = set()
    waiting = [root]
    while waiting:
        for file in _files(waiting.pop()):
            if file not in found:
                found.add(file)
                waiting += [name for name in imports(_text(file)) if name.split(".")[1] in DECIDES]
    return found


@cache
def imports(source: str) -> tuple[str, ...]:
    """What a source imports of this package, by names with dots.

    What it takes from a module could be one itself.
    """
    code = _STRING_OR_COMMENT.sub("", source)
    found = [(one[1], _NAME.findall(one[2])) for one in _FROM.finditer(code)]
    plain = (one[1] for one in _IMPORT.finditer(code))
    return (*(f"{module}.{name}" for module, names in found for name in names), *plain)


@cache
def without_comments(source: str) -> str:
    """A source without comments, blank lines and blanks at the ends of lines."""
    code = _STRING_OR_COMMENT.sub(lambda found: "" if found["comment"] else found[0], source)
    return "\n".join(filter(None, map(str.rstrip, code.split("\n"))))


@cache
def _files(name: str) -> tuple[Path, ...]:
    """The files of a name with dots: those of the packages that it lies in, and its module's
    where it is one.
    """
    parent, _, last = name.rpartition(".")
    if not parent:
        return ()
    own = (
        PACKAGE.joinpath(*name.split(".")[1:], "__init__.py"),
        PACKAGE.joinpath(*parent.split(".")[1:], f"{last}.py"),
    )
    return (*_files(parent), *(file for file in own if file.is_file()))


@cache
def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()
