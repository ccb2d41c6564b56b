"""Every kind of server answer, to each role of a small study: none becomes data, and the counts are
the server's.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.llm.caller import Caller
from cbt_ray.store.folder import FolderStore
from cbt_ray.unit import Stage, Status
from cbt_ray.work.usage import Costs
from tests.llm.answers import REPLIES, SECRET, User, World
from tests.llm.faulty_server import Behaviour, FaultyServer, scripted_answer
from tests.stages import scripted

pytestmark = pytest.mark.slow

ROLES = {
    "generator": (["generate"], Stage.COURSES),
    "therapist": (["simulate"], Stage.SESSIONS),
    "patient": (["simulate"], Stage.SESSIONS),
    "summariser": (["simulate"], Stage.SESSIONS),
    "judge": (["simulate", "evaluate"], Stage.RATINGS),
}
"""The commands in which a role is called, and the units that it makes."""
SLOW = {"slow", "drips_headers", "drips_body", "bomb"}
"""Each takes seconds; tests/llm/test_answers.py has them."""
PASSING = {
    name: one
    for name, (one, is_) in REPLIES.items()
    if not isinstance(is_, User) and name not in SLOW
}
FOR_THE_USER = {name: one for name, (one, is_) in REPLIES.items() if isinstance(is_, User)}
AT_A_TIME = 15
"""Faults before each good answer: judge and summariser, who answer eight times, meet them all."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two tries."""
    monkeypatch.setitem(Caller.__init__.__kwdefaults__, "sleep", lambda seconds: None)


def write(folder: Path, url: str) -> Path:
    """A study whose roles have an endpoint each; the server knows them by the model's name."""
    remote = {"kind": "litellm", "api_base": url, "timeout_s": 60, "retries": 20}
    endpoints = {name: {**remote, "model": f"openai/{name}"} for name in ROLES}
    roles = {name: {"endpoint": name, "attempts": 20} for name in ROLES}
    document: dict[str, Any] = scripted.study_document(
        folder / "store", judge=roles.pop("judge"), endpoints=endpoints, roles=roles
    )
    document["courses"]["attempts"] = 20
    document["sessions"] |= {"max_messages": 24, "count": 3}
    document["phases"][-1]["sessions"][1] = 3
    return scripted.write_study(folder, document)


@pytest.mark.parametrize("role", ROLES)
def test_no_answer_that_is_none_becomes_data(tmp_path: Path, role: str) -> None:
    kinds = itertools.cycle(PASSING.values())
    seen: list[Behaviour] = []

    def script(request: dict[str, Any], number: int) -> Behaviour:
        if request["model"] != role or len(seen) % (AT_A_TIME + 1) == AT_A_TIME:
            seen.extend([] if request["model"] != role else [REPLIES["stop"][0]])
            return scripted_answer(request)
        seen.append(next(kinds))
        return seen[-1]

    commands, stage = ROLES[role]
    with FaultyServer(script) as server:
        file = write(tmp_path, server.url)
        assert [run([name, str(file), "--inline"]) for name in commands] == [0] * len(commands)
        sent = server.calls
    assert len(PASSING) >= 60
    assert all(one in seen for one in PASSING.values())
    costs = Costs(FolderStore(tmp_path / "store"), "rehearsal").total
    assert costs.calls == sent
    met = [
        is_.kind
        for one in seen
        for other, is_ in REPLIES.values()
        if other is one and isinstance(is_, World)
    ]
    assert costs.faults == {kind: met.count(kind) for kind in met}
    units = scripted.units(tmp_path / "store")
    made = [unit for unit in units.values() if unit.key.stage is stage]
    assert made
    assert all(unit.status is Status.DONE for unit in units.values())
    kept = [turn.pop("hidden", None) for unit in made for turn in unit.content.get("turns", ())]
    assert not [unit.key for unit in units.values() if SECRET in str(unit.content)]
    thoughts = [unit.provenance.get("reasoning") for unit in made]
    assert SECRET in str(kept if role == "therapist" else thoughts)


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (role, name)
        for number, name in enumerate(FOR_THE_USER)
        for role in [list(ROLES)[number % len(ROLES)]]
    ],
)
def test_a_matter_for_the_user_ends_the_study_after_one_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str, name: str
) -> None:
    asked = 0

    def script(request: dict[str, Any], number: int) -> Behaviour:
        nonlocal asked
        asked += request["model"] == role
        return (
            FOR_THE_USER[name]
            if request["model"] == role and asked > 1
            else scripted_answer(request)
        )

    commands, _ = ROLES[role]
    with FaultyServer(script) as server:
        file = write(tmp_path, server.url)
        codes = [run([command, str(file), "--inline"]) for command in commands]
        sent = server.calls
    assert codes[-1] == 2
    assert asked == 2, "the short call that proves the endpoint, and one more"
    assert Costs(FolderStore(tmp_path / "store"), "rehearsal").total.calls == sent
    error = capsys.readouterr().err.strip().splitlines()[-1]
    is_ = REPLIES[name][1]
    assert isinstance(is_, User)
    assert f"endpoints.{role}.{is_.field}: expected" in error
    assert is_.says in error
    units = scripted.units(tmp_path / "store")
    assert all(unit.status is Status.DONE for unit in units.values())
    assert SECRET not in str([unit.content for unit in units.values()])
