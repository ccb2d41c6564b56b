"""The README and docs/ agree with the command line and with the files that they link to."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from cbt_ray.cli import cli
from cbt_ray.cli.command import ORDER
from cbt_ray.study import load_study
from tests.docs.command_pages import PAGE, page
from tests.docs.markdown import PAGES, ROOT, anchors, links, spans

FOLDERS = "cbt_ray|tests|k8s|studies|requirements|images|jobs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = ["".join(found) for found in re.findall(r"(?s)```sh\n(.*?)```|`([^`\n]+)`", README)]


def test_the_page_of_commands_is_that_of_the_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make docs writes it anew"
    assert set(ORDER) == set(cli.commands)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_each_command_has_an_example_of_its_own(name: str) -> None:
    command = cli.commands[name]
    examples = (
        [command, *command.commands.values()] if isinstance(command, click.Group) else [command]
    )
    said = [(one.epilog or "").removeprefix("Example: ") for one in examples]
    assert any(one.startswith(f"cbt-ray {name}") for one in said)


def test_the_readme_is_read_on_one_screen() -> None:
    assert len(README.splitlines()) <= 80
    assert len(README.split()) <= 700


@pytest.mark.parametrize("command", sorted(set(re.findall(r"cbt-ray (\w+)", "\n".join(CODE)))))
def test_the_readme_names_commands_that_are_there(command: str) -> None:
    assert command in cli.commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    named = [span for span in spans(page) if re.match(rf"(?:{FOLDERS})/[\w./*-]+$", span)]
    assert [name for name in named if not any(ROOT.glob(name.rstrip("/")))] == []


@pytest.mark.parametrize("file", sorted(ROOT.glob("cbt_ray/**/*.py")), ids=lambda file: file.stem)
def test_pages_that_the_code_names_are_there(file: Path) -> None:
    named = re.findall(r"[^/\w](docs/[\w-]+\.md)", file.read_text(encoding="utf-8"))
    assert [page for page in named if not (ROOT / page).exists()] == []


@pytest.mark.parametrize(
    "folder", sorted(path.parent.name for path in (ROOT / "cbt_ray").glob("*/__init__.py"))
)
def test_the_structure_has_each_part_of_the_package(folder: str) -> None:
    assert f"\n### `cbt_ray/{folder}/`: " in (ROOT / "docs" / "structure.md").read_text()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda file: file.stem
)
def test_each_study_file_loads_and_is_described(file: Path) -> None:
    study = load_study(file)
    assert study.study == file.stem
    assert f"studies/{file.name}" in (ROOT / "README.md").read_text()
