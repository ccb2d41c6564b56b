"""The README and docs/ agree with the command line and with the files that they link to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cbt_ray.cli import cli
from cbt_ray.study import load_study

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_readme_has_each_command_with_the_example_of_its_help(name: str) -> None:
    example = (cli.commands[name].epilog or "").removeprefix("Example: ")
    assert re.search(
        rf"^\| `{name}` \|.*\| `{re.escape(example)}` \|$",
        (ROOT / "README.md").read_text(),
        re.MULTILINE,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "folder", sorted(path.parent.name for path in (ROOT / "cbt_ray").glob("*/__init__.py"))
)
def test_the_structure_has_each_part_of_the_package(folder: str) -> None:
    assert f"| `cbt_ray/{folder}/` |" in (ROOT / "docs" / "structure.md").read_text()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda file: file.stem
)
def test_each_study_file_loads_and_is_described(file: Path) -> None:
    study = load_study(file)
    assert study.study == file.stem
    assert f"studies/{file.name}" in (ROOT / "README.md").read_text()
