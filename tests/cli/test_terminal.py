"""What is drawn on a terminal, and that nothing but lines is written where nothing can be drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cbt_ray.cli import cli
from cbt_ray.commands.watch import fitting, watch
from tests.pseudo_terminal import ROOT, terminal
from tests.study.example import example_study, write_study

RUN = ("-m", "cbt_ray")
BAR = """
from cbt_ray.work.progress import for_terminal
with for_terminal().stage("sessions", 1200, lambda: "1,234 calls, 5,678 tokens, $9.10 so far") as w:
    w("s/sessions/a/1", "done")
    input()
"""
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_study(tmp_path, example_study())


def test_the_bar_says_what_has_elapsed_what_is_left_and_what_it_cost() -> None:
    with terminal("-c", BAR) as seen:
        seen.until(r"(?s)1/1200 \S+ \d+ s elapsed, [\d: s]+ left\n +1,234 calls, .* so far")
        seen.type("\n")
        assert seen.ended() == 0
    assert all(len(line) <= 80 for line in seen.text.splitlines())
    assert "\x1b[" in seen.raw


def test_the_bar_of_a_study_counts_its_calls(file: Path) -> None:
    with terminal(*RUN, "study", str(file)) as seen:
        seen.ended()
    assert "sessions ━" in seen.text
    last = [line for line in seen.text.splitlines() if "so far" in line][-1]
    assert last.endswith(" tokens, $0.00 so far")
    assert " 0 calls" not in last


DUMB = {"TERM": "dumb"}


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        *((command.split(), DUMB) for command in ("study", "status --watch", "plan", "check")),
        (["study"], {"NO_COLOR": "1"}),
    ],
    ids=str,
)
def test_lines_alone_where_it_cannot_be_drawn_on(
    file: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    with terminal(*RUN, *arguments, str(file), **environment) as seen:
        if "--watch" in arguments:
            seen.until("sessions: 2 owed")
            seen.type("\x03")
        assert seen.ended() == (130 if "--watch" in arguments else 0), seen.text
    assert seen.raw
    assert "\x1b" not in seen.raw
    assert "\r" not in seen.raw.replace("\r\n", "")


def test_no_control_sequences_in_a_pipe(file: Path) -> None:
    said = subprocess.run(
        [sys.executable, *RUN, "study", str(file)], capture_output=True, check=True
    )
    assert b"sessions: 2/2 settled" in said.stdout
    assert b"\x1b" not in said.stdout + said.stderr


# ---- status --watch ------------------------------------------------------------------------------


def test_a_watch_draws_anew_until_nothing_is_owed(file: Path) -> None:
    with terminal(*RUN, "status", "--watch", str(file)) as seen:
        seen.until(r"sessions +0 +0 +0 +2")
        subprocess.run([sys.executable, *RUN, "study", str(file)], check=True)
        assert seen.ended() == 0
    last = seen.text[seen.text.rindex("small in ") :]
    assert "never made" not in last
    assert "\nso far: " in last
    assert "so far: 0 calls" not in last


def test_a_watch_of_many_lines_keeps_stages_and_cost_on_the_screen() -> None:
    lines = [str(number) for number in range(30)]
    assert fitting(lines, 30) == lines
    shown = fitting(lines, 8)
    assert shown == ["0", "1", "2", "3", "... 23 lines more", "27", "28", "29"]


def test_ctrl_c_ends_a_watch_without_a_word(file: Path) -> None:
    with terminal(*RUN, "status", "--watch", str(file)) as seen:
        seen.until("so far: 0 calls")
        seen.type("\x03")
        assert seen.ended() == 130
    assert "interrupted" not in seen.text
    assert "Traceback" not in seen.text


class Looks:
    """A status that goes on from look to look."""

    def __init__(self, *looks: list[str]) -> None:
        self.looks = list(looks)

    def facts(self) -> list[str]:
        return self.looks[0]

    def renew(self) -> None:
        self.looks.pop(0)

    @property
    def settled(self) -> bool:
        return len(self.looks) == 1


def test_a_watch_without_a_terminal_tells_each_change_once() -> None:
    said: list[object] = []
    looks = Looks(
        ["a: 2 owed", "b: 1 owed"], ["a: 2 owed", "b: 1 owed"], ["a: 2 done", "b: 1 owed"]
    )
    watch(looks, said.append, lambda: ["job: runs"], lambda _: None)
    assert said == ["a: 2 owed", "b: 1 owed", "job: runs", "a: 2 done"]


def test_a_watch_and_json_are_refused_together(file: Path) -> None:
    with terminal(*RUN, "status", "--watch", "--json", str(file)) as seen:
        assert seen.ended() == 2
    assert "--watch: expected without --json; see: cbt-ray status --help" in seen.text


# ---- 80 columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES, ids=lambda file: file.stem)
def test_a_plan_fits_80_columns(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    cli.main(["plan", str(study), "--nodes", "1", "--nodes", "4"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert any(line.startswith("sessions ") for line in lines)


def test_a_plan_in_a_pipe_has_whole_lines(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    cli.main(["plan", str(file)], standalone_mode=False)
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("critical")]
    assert line.endswith("expected_speed")
