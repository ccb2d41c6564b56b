"""docs/cli.md, made of the commands: what each does, an example, its options.

Rewrite it:    make docs
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from cbt_ray.cli import cli

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """# Commands

`make study` puts the command into `.venv/bin/cbt-ray`; `uv pip install .` puts it on the path.
Every path in a study file is relative to that file, and those of `--set` too.
`make docs` writes this page from the commands.

| exit code | meaning |
|---|---|
| 0 | nothing is owed |
| 1 | something is owed: run the same command again |
| 2 | you first: a bad file or input, a refused key, the budget, a worker that crashes |
| 3 | nothing is owed, but a stage stayed below its `minimum` in the study file |

All state is in the store: running a command again does what is owed, and that is resume.
"""


def page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="cbt-ray")
    sections = [
        section
        for name in cli.list_commands(context)
        for section in _sections(cli.commands[name], context, name)
    ]
    return "\n".join([HEAD, *sections])


def _sections(command: click.Command, above: click.Context, name: str) -> Iterator[str]:
    """A command's, then those of the commands below it."""
    context = click.Context(command, above, info_name=name)
    yield _section(command, context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _sections(command.commands[below], context, below)


def _section(command: click.Command, context: click.Context) -> str:
    said = "\n".join(_sentences(command.help or ""))
    example = (command.epilog or "").removeprefix("Example: ")
    lines = [f"## `{context.command_path}`\n", said, ""]
    lines += ["```sh", f"{example}", "```", ""] if example else []
    options = [one for one in command.params if isinstance(one, click.Option)]
    listed = [f"- {_names(one)}: {_meaning(one)}" for one in options]
    return "\n".join([*lines, *listed, *([""] if listed else [])])


def _meaning(option: click.Option) -> str:
    default = f" By default `{option.default}`." if option.show_default else ""
    return "\n  ".join(_sentences(f"{option.help or ''}{default}"))


def _names(option: click.Option) -> str:
    flags = " ".join(f"`{name}`" for name in option.opts)
    return flags if option.is_flag else f"{flags} {option.metavar or option.type.name.upper()}"


def _sentences(text: str) -> list[str]:
    """One sentence a line."""
    whole = " ".join(text.split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", whole) if whole else []


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
