"""Every command in the README and in docs/ is run, or is listed with the reason why not."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cbt_ray.cli import cli
from tests.docs.markdown import PAGES, ROOT, blocks, lines, spans

DATA = {"json", "csv"}
KINDS = {"sh", "text", "yaml", "python", *DATA}
"""`sh` is what a reader types; every block says what it is."""
TUNED = {"generate", "dataset"}
"""Commands that only a study with a tuned arm needs."""
SHOWN = ("transcripts.jsonl", "courses.jsonl", "raters.csv")
"""Under which names commands read the files that import.md shows, in their order."""
BEFORE = {
    "cli.md": (
        "cbt-ray init my-demo --example demo",
        "echo imported: study.imported.json >>my-demo/study.yaml",
        "cbt-ray import sessions transcripts.jsonl own.yaml",
    )
}
"""Page -> what was typed before its examples, which are in the order of the commands."""
NOT_RUN = {
    r"uv (pip|tool) |pip install": "installs; tests/test_wheel.py installs the wheel",
    r"git clone": "fetches a repository of others",
    r"kubectl |cbt-ray (submit|logs|cancel)": "needs a cluster; tests/cluster",
    r"cbt-ray import (cbt|act) ": "needs a clone; tests/published",
    r"cbt-ray (evaluate|report) (published|act)\.yaml": "the same",
    r"cbt-ray analyze scores\.csv --mapping cbt": "needs the published table; tests/cli",
    r"cbt-ray (fetch|weights|train) ": "needs a hub or trains; tests/stages",
    r"(\w+=\S+ )*cbt-ray serve ": "needs vLLM; tests/vllm",
    r"\.venv/bin/cbt-ray study ": "trains; tests/stages/test_demo.py runs the demo",
    r"tensorboard ": "a program of others",
}
"""Beginning of a command -> why no test here runs it."""


def commands(kind: str = "sh") -> Iterator[tuple[str, str]]:
    """Page and command, as a reader types it."""
    for page in PAGES:
        for block in blocks(page):
            for line in block.text.replace("\\\n", "").splitlines() if block.kind == kind else ():
                command = re.sub(r"(^|\s)#.*", "", line).strip()
                if command:
                    yield block.page, command


TYPED = list(dict.fromkeys(commands()))
RUN = [
    (page, command)
    for page, command in TYPED
    if not command.startswith("make ") and not any(re.match(one, command) for one in NOT_RUN)
]


def parsed(words: list[str]) -> None:
    """Follow the words to a command, and have it read the options."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    assert not (isinstance(command, click.Group) and words), f"no command {words[0]}"
    with contextlib.suppress(click.BadOptionUsage):  # `--to` alone names the option
        command.make_parser(click.Context(command)).parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_says_what_it_is(page: Path) -> None:
    assert [block.text for block in blocks(page) if block.kind not in KINDS] == []
    assert [line for line in lines(page) if line.startswith("    ")] == [], "indented code"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_named_are_there(page: Path) -> None:
    typed = [command for name, command in TYPED if name == page.name] + spans(page)
    for command in typed:
        if found := re.match(r"(?:\w+=\S+ )*(?:\.venv/bin/)?cbt-ray (.+)", command):
            parsed(shlex.split(found[1].partition(" > ")[0]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_that_are_named_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = [command for name, command in TYPED if name == page.name] + spans(page)
    for command in made:
        if re.match(r"(\w+=\S+ )*make\b", command):
            words = [word for word in shlex.split(command) if "=" not in word][1:]
            assert set(words) <= targets | {"submit-train", "submit-generate"}, command


def test_make_knows_what_to_do() -> None:
    for _, command in TYPED:
        if command.startswith("make "):
            made = subprocess.run(
                ["make", "--dry-run", *shlex.split(command)[1:]],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"},
            )
            assert (made.returncode, made.stderr) == (0, ""), command


def test_no_reason_is_left_over() -> None:
    typed = [command for _, command in TYPED]
    assert [one for one in NOT_RUN if not any(re.match(one, command) for command in typed)] == []


def supposed(folder: Path) -> None:
    """Write what the pages suppose: the studies of a checkout, the files that they show."""
    shutil.copytree(ROOT / "studies", folder / "studies")
    shown = [block.text for block in blocks(ROOT / "docs" / "import.md") if block.kind in DATA]
    for name, text in zip(SHOWN, shown, strict=True):
        (folder / name).write_text(text, encoding="utf-8")


def answer_by_rule(folder: Path, trains: bool) -> None:
    """Have the models of all study files answer by rule: nobody's server is there to be asked."""
    for file in [*folder.glob("*.yaml"), folder / "studies" / "demo.yaml"]:
        document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        document["endpoints"] = {name: {"kind": "scripted"} for name in document["endpoints"]}
        tuned = document["arms"] if not trains and "models" in document else []
        for number, arm in enumerate(tuned):
            arm |= {"tuned": False, "sampling": {"temperature": number / 2}}
            arm.pop("model", None)
        file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({page for page, _ in RUN}))
def test_commands_run_in_their_order(page: str, tmp_path: Path) -> None:
    supposed(tmp_path)
    program = tmp_path / ".venv" / "bin" / "cbt-ray"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cbt_ray "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    found = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    typed = [command for name, command in RUN if name == page]
    for command in (*BEFORE.get(page, ()), *typed):
        answer_by_rule(tmp_path, bool(set(command.split()) & TUNED))
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "PYTHONPATH": found},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
