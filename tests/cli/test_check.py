"""`check` says all that would be refused and calls nobody.

`study` refuses the same before its first call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import outcome
from tests.llm.faulty_server import UNAUTHORIZED, Behaviour, FaultyServer, scripted_answer
from tests.study.example import asked_at, example_study, write_study


def remote(server: FaultyServer, **more: Any) -> dict[str, Any]:
    return {
        "kind": "litellm",
        "model": "openai/scripted",
        "api_base": server.url,
        "retries": 0,
        "timeout_s": 60,
        **more,
    }


def asking(server: FaultyServer, **changes: Any) -> dict[str, Any]:
    """A study whose every role asks one server."""
    return example_study(
        endpoints__remote=remote(server),
        **asked_at("remote"),
        **changes,
    )


def working() -> FaultyServer:
    return FaultyServer(lambda request, _: scripted_answer(request))


def test_good_study_calls_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with working() as server:
        study = write_study(tmp_path, asking(server))
        assert outcome(["check", str(study)]) == (0, "")
        assert server.calls == 0
    said = capsys.readouterr().out
    assert "nothing wrong: fields, prompts, scale ctrs, recipes" in said
    assert "roles: generator, patient, summariser, therapist, judge" in said
    assert "not called (--call does): remote" in said


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Nine faults of nine kinds: of fields alone, of blocks that do not fit, of files, of the
    environment.
    """
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "patient.j2").write_text("You are {{ nobody }}")
    (tmp_path / "own" / "unused.j2").write_text("{% if")
    with working() as server:
        endpoints = {
            "endpoints__remote": remote(server, price=[float("nan"), 1]),
            "endpoints__keyless": remote(server, api_key_env="CBT_RAY_NO_KEY", price=[0, 0]),
            "endpoints__local": {"kind": "llama_cpp", "gguf": "none.gguf"},
        }
        roles = {
            "roles__generator__endpoint": "remote",
            "roles__patient__endpoint": "keyless",
            "raters__judge__endpoint": "local",
        }
        more = {
            "prompts": "own",
            "raters__judge__scales": ["hamilton"],
            "minimum__ratings": 99,
            "raters__judge__justification_chars": [9, 1],
        }
        study = write_study(
            tmp_path, example_study(**endpoints, **roles, **more, arms__0__prompt="nova.j2")
        )
        code, message = outcome(["check", str(study)])
        assert server.calls == 0
    prefix = f"cbt-ray: {study}: "
    assert code == 2
    assert all(line.startswith(prefix) for line in message.splitlines())
    told = sorted(line.removeprefix(prefix).split(": ")[0] for line in message.splitlines())
    assert told == sorted(
        [
            "endpoints.remote.price.0",
            "raters.judge.justification_chars",
            "minimum.ratings",
            "raters.judge.scales",
            "prompts",
            "prompts",
            "arms.0.prompt",
            "endpoints.local.gguf",
            "endpoints.keyless.api_key_env",
        ]
    )


def test_call_asks_each_way_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with working() as server:
        study = write_study(tmp_path, asking(server, raters__judge__sampling={"temperature": 0.1}))
        assert outcome(["check", str(study), "--call"]) == (0, "")
        assert server.calls == 2  # four roles with the default sampling, and the judge
    assert "endpoints that answered: remote" in capsys.readouterr().out


def test_judge_that_refuses_is_heard_of_before_anything_is_paid_for(tmp_path: Path) -> None:
    with (
        working() as good,
        FaultyServer(lambda *_: UNAUTHORIZED) as bad,
        FaultyServer(lambda *_: UNAUTHORIZED) as worse,
    ):
        document = asking(good, endpoints__judge=remote(bad), endpoints__other=remote(worse))
        document["raters"]["judge"]["endpoint"] = "judge"
        document["roles"]["summariser"]["endpoint"] = "other"
        study = write_study(tmp_path, document)
        code, message = outcome(["study", str(study), "--inline"])
        assert code == 2
        assert [line.split(": ")[2] for line in message.splitlines()] == [
            "roles.summariser.endpoint",
            "raters.judge.endpoint",
        ]
        assert (good.calls, bad.calls, worse.calls) == (1, 1, 1)
    assert not [
        file
        for file in (tmp_path / "runs").rglob("*")
        if file.is_file() and "usage" not in file.parts
    ]


def test_refusal_is_told_before_an_endpoint_that_is_down(tmp_path: Path) -> None:
    with (
        FaultyServer(lambda *_: Behaviour(status=503)) as down,
        FaultyServer(lambda *_: UNAUTHORIZED) as bad,
    ):
        document = asking(down, endpoints__judge=remote(bad))
        document["raters"]["judge"]["endpoint"] = "judge"
        code, message = outcome(["check", str(write_study(tmp_path, document)), "--call"])
    assert code == 2
    assert "raters.judge.endpoint" in message


def test_each_endpoint_is_asked_once_in_a_study_and_a_finished_one_asks_nobody(
    tmp_path: Path,
) -> None:
    with working() as server:
        study = write_study(tmp_path, asking(server))
        assert outcome(["study", str(study), "--inline"])[0] == 0
        short = [
            body
            for body in server.requests
            if "Reply with the word ready" in body["messages"][-1]["content"]
        ]
        assert len(short) == 1
        before = server.calls
        assert outcome(["study", str(study), "--inline"]) == (0, "")
        assert outcome(["check", str(study), "--call"]) == (0, "")
        assert server.calls == before


def test_budget_counts_the_short_calls(tmp_path: Path) -> None:
    with working() as server:
        document = asking(server, budget__calls=1, raters__judge__sampling={"temperature": 0.1})
        code, message = outcome(["study", str(write_study(tmp_path, document)), "--inline"])
        assert (code, server.calls) == (2, 1)
    assert "budget.calls" in message


def test_a_model_that_only_reasons_in_a_short_call_has_answered(tmp_path: Path) -> None:
    told = (
        b'{"error": {"message": "Could not finish the message because max_tokens '
        b'or model output limit was reached."}}'
    )
    with FaultyServer(lambda *_: Behaviour(status=400, raw=told)) as server:
        assert outcome(["check", str(write_study(tmp_path, asking(server))), "--call"]) == (0, "")
        assert server.calls == 1


def test_a_context_that_has_no_room_for_a_short_call_is_refused(tmp_path: Path) -> None:
    told = (
        b'{"error": {"message": "maximum context length is 8 tokens", '
        b'"code": "context_length_exceeded"}}'
    )
    with FaultyServer(lambda *_: Behaviour(status=400, raw=told)) as server:
        code, message = outcome(["check", str(write_study(tmp_path, asking(server))), "--call"])
    assert (code, len(message.splitlines())) == (2, 1)
    assert "roles.generator.endpoint: expected room for a short call" in message
