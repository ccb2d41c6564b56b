"""The digest of the code behind an analysis: what changes it, what does not, and that its reading
of sources is right.
"""

from __future__ import annotations

import ast
import io
import shutil
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbt_ray.work import code

pytestmark = pytest.mark.slow

FILES = sorted(code.PACKAGE.rglob("*.py"))
FUTURE = "from __future__ import annotations"
ANALYSIS, REPORT = "cbt_ray.stages.analyse", "cbt_ray.stages.report"


def digest_of(root: str) -> str:
    for known in (code.code_digest, code._files, code._text):
        known.cache_clear()
    return code.code_digest(root)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package whose files may be changed."""
    copy = tmp_path / "cbt_ray"
    shutil.copytree(code.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", copy)
    yield copy
    monkeypatch.undo()
    digest_of(ANALYSIS)


def added(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


CHANGES = {
    "rating/probe.py": (True, True),
    "therapy/flags.py": (True, True),
    "therapy/validation.yaml": (True, True),
    "analysis/effect/calibration.json": (True, True),
    "imports/rows.py": (True, True),
    "stages/held.py": (True, True),
    "stages/trained.py": (False, True),
    "report/page.css": (False, True),
    "stages/train.py": (False, False),
    "stages/generate.py": (False, False),
    "imports/courses.py": (False, False),
    "imports/ratings.py": (False, False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_code_that_is_imported_counts(name: str, package: Path) -> None:
    before = [digest_of(root) for root in (ANALYSIS, REPORT)]
    added(package / name, "\n_X = 1\n")
    assert (
        tuple(
            digest_of(root) != known for root, known in zip((ANALYSIS, REPORT), before, strict=True)
        )
        == CHANGES[name]
    )


def test_comments_and_blank_lines_anywhere_do_not_count(package: Path) -> None:
    before = [digest_of(root) for root in (ANALYSIS, REPORT)]
    for file in package.rglob("*.py"):
        source = file.read_text()
        commented = source.replace(FUTURE, f"# why, and 'so'\n\n{FUTURE}  # now\n")
        file.write_text(f"{commented}\n\n    # the end\n")
    assert [digest_of(root) for root in (ANALYSIS, REPORT)] == before


def test_a_module_that_is_imported_within_a_function_counts(package: Path) -> None:
    (package / "analysis" / "new.py").write_text("X = 1\n")
    added(
        package / "stages" / "held.py", "\n\ndef late() -> None:\n    import cbt_ray.analysis.new\n"
    )
    before = digest_of(ANALYSIS)
    (package / "analysis" / "new.py").write_text("X = 2\n")
    assert digest_of(ANALYSIS) != before


def imported(file: Path) -> set[str]:
    """What Python's own parser says that a file imports of this package."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import would be passed over"
            found |= {f"{node.module}.{name.name}" for name in node.names}
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.startswith("cbt_ray.")}


def without(file: Path) -> str:
    """A file without what Python's own tokenizer says are comments."""
    lines = file.read_text().split("\n")
    for token in reversed([*tokenize.generate_tokens(io.StringIO(file.read_text()).readline)]):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column] + lines[line - 1][token.end[1] :]
    return "\n".join(line for line in map(str.rstrip, lines) if line)


@pytest.mark.slow
def test_sources_are_read_as_python_reads_them() -> None:
    assert len(FILES) > 100
    for file in FILES:
        source = file.read_text()
        assert set(code.imports(source)) == imported(file), file
        assert code.without_comments(source) == without(file), file
