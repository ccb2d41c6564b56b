"""Bad input: one line that names file, field and expectation, the exit code, nothing stored,
nothing paid, no secret told.

The study of each case has a generator behind a real HTTP server that counts its calls: whatever
would be paid for is seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cbt_ray.__main__ import run
from tests.llm.faulty_server import UNAUTHORIZED, Behaviour, FaultyServer, scripted_answer
from tests.study.example import RECIPE, asked_at, example_study, write_study

SECRET = "sk-live-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"
UNKNOWN_MODEL = Behaviour(
    status=404, error={"message": "The model `scripted` does not exist", "code": "model_not_found"}
)
AGAIN, FIRST_YOU = 1, 2


def litellm(url: str = "http://127.0.0.1:9/v1", **more: Any) -> dict[str, Any]:
    return {
        "kind": "litellm",
        "model": "openai/scripted",
        "api_base": url,
        "retries": 0,
        "timeout_s": 60,
        **more,
    }


def gguf(path: str) -> dict[str, str]:
    return {"kind": "llama_cpp", "gguf": path}


def patient(name: str) -> dict[str, str]:
    return {"name": name, "profile": "34, a bus driver and father of two who broods on shift."}


def judge_at(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A judge, the last role to be asked, behind another endpoint: it is refused before the first
    call all the same.
    """
    return {"endpoints__other": dict(endpoint), "raters__judge__endpoint": "other"}


@pytest.fixture(scope="module")
def counting() -> Iterator[FaultyServer]:
    with FaultyServer(lambda request, _: scripted_answer(request)) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with what cases refer to."""
    (tmp_path / "text.gguf").write_text("this is no GGUF")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "typo.yaml").write_text(
        yaml.safe_dump(RECIPE | {"compare": RECIPE["start"], "learning_rat": 1})
    )
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "greedy.j2").write_text("You are Nova. {{ diagnosis }}")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "torn.j2").write_text("You are {{ patient")
    (tmp_path / "own" / "phq").mkdir()
    (tmp_path / "own" / "phq" / "scale.yaml").write_text("title: [")
    (tmp_path / "own" / "twice").mkdir()
    words = [{"word": "Poor", "anchor": "a"}, {"word": "poor", "anchor": "b"}]
    scale: dict[str, Any] = {"title": "T", "instructions": "I", "items": ["one"], "words": words}
    scale["measures"] = {"total": {"sum": "all"}}
    (tmp_path / "own" / "twice" / "scale.yaml").write_text(yaml.safe_dump(scale))
    (tmp_path / "own" / "less").mkdir()
    less: dict[str, Any] = {"title": "T", "instructions": "I", "count": True}
    less["items"] = {"n": {"title": "N", "question": "N?"}}
    less["measures"] = {"fewer": {"sum": "all", "times": -1}}
    (tmp_path / "own" / "less" / "scale.yaml").write_text(yaml.safe_dump(less))
    (tmp_path / "own" / "twice" / "one.yaml").write_text("title: One\nquestion: One?")
    return tmp_path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr: exactly one line, without the progress of stages that were never
    begun.
    """
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("cbt-ray: ")
    return lines[0]


def stored(folder: Path) -> list[Path]:
    """Everything in the store but records of cost."""
    return [
        file
        for file in (folder / "runs").rglob("*")
        if file.is_file() and "usage" not in file.parts
    ]


class Bad(NamedTuple):
    """Changes of the example study, the field that the line names, what it expects."""

    name: str
    changes: Mapping[str, Any]
    field: str
    expected: str


STUDY_FILES = (
    Bad("misspelt field", {"sead": 1}, "sead", "unknown field, expected seed"),
    Bad(
        "misspelt field of a block",
        {"courses__sesions": 3},
        "courses.sesions",
        "unknown field, expected sessions",
    ),
    Bad(
        "misspelt name of a needed field",
        {"seed": ..., "sed": 7},
        "sed",
        "unknown field, expected seed",
    ),
    Bad(
        "field that is nothing like any",
        {"zzz": 7},
        "zzz",
        "unknown field, expected one of analysis, arms, ",
    ),
    Bad(
        "field left out",
        {"roles__patient": ...},
        "roles.patient",
        "expected one, since a patient says more than",
    ),
    Bad("text for a number", {"seed": "seven"}, "seed", "expected a whole number, found 'seven'"),
    Bad(
        "fraction for a whole number",
        {"courses__pairs": 1.5},
        "courses.pairs",
        "expected a whole number, found 1.5",
    ),
    Bad(
        "number for a mapping",
        {"raters__judge": 3},
        "raters.judge",
        "expected a mapping of fields, found 3",
    ),
    Bad("text for a list", {"arms": "plain"}, "arms", "expected a list, found 'plain'"),
    Bad("negative seed", {"seed": -1}, "seed", "expected at least 0, found -1"),
    Bad("share above one", {"minimum__courses": 80}, "minimum.courses", "expected at most 1"),
    Bad("budget of nothing", {"budget__calls": 0}, "budget.calls", "expected at least 1, found 0"),
    Bad(
        "minimum out of reach",
        {"minimum__ratings": 3},
        "minimum.ratings",
        "expected at most the 2 sessions of an arm",
    ),
    Bad(
        "name with a slash",
        {"study": "my/study"},
        "study",
        "expected at most 31 lower-case letters, digits and hyphens",
    ),
    Bad(
        "model's name with a slash",
        {"models__a/b": {"recipe": RECIPE | {"compare": "x"}}},
        "models.a/b",
        "lower-case letters",
    ),
    Bad(
        "unknown model in an arm",
        {"arms__0__model": "qwen"},
        "arms.0.model",
        "expected one of ['smollm2']",
    ),
    Bad(
        "neither tuned nor not",
        {"arms__0__tuned": "best"},
        "arms.0.tuned",
        "found 'best'",
    ),
    Bad("no arms", {"arms": []}, "arms", "expected at least 1"),
    Bad(
        "two arms of one name",
        {"arms__1": example_study()["arms"][0]},
        "arms",
        "expected each once, found 'plain' twice",
    ),
    Bad(
        "two patients of one name",
        {"patients__simulated__1": patient("Teresa Lindqvist")},
        "patients.simulated",
        "each once",
    ),
    Bad(
        "patients alike but for a dot",
        {"patients__simulated__1": patient("Teresa. Lindqvist")},
        "patients.simulated.1.name",
        "'Teresa Lindqvist' has the same",
    ),
    Bad(
        "patient of blanks",
        {"patients__simulated__0__name": "  "},
        "patients.simulated.0.name",
        "expected a name",
    ),
    Bad("no patients", {"patients__simulated": []}, "patients.simulated", "expected at least 1"),
    Bad(
        "short profile",
        {"patients__simulated__0__profile": "sad"},
        "patients.simulated.0.profile",
        "at least 40 characters",
    ),
    Bad(
        "training name twice",
        {"patients__training__names": ["Al Bo", "Al Bo"]},
        "patients.training.names",
        "each name once",
    ),
    Bad(
        "fewer names than patients",
        {"patients__training__count": 3},
        "patients.training.names",
        "expected at least 3, found 2",
    ),
    Bad(
        "training patient simulated",
        {"patients__simulated__0__name": "Alex Gray"},
        "patients.simulated.0.name",
        "no model was",
    ),
    Bad(
        "level sets another characteristic",
        {
            "patients__training__characteristics__mood": {
                "low": {"weight": 1, "sets": {"coping": "none"}}
            }
        },
        "patients.training.characteristics.mood.low.sets.coping",
        "expected a field that is no characteristic itself",
    ),
    Bad(
        "level of no weight",
        {"patients__training__characteristics__mood": {"low": {"sets": {"style": "brief"}}}},
        "patients.training.characteristics.mood.low.weight",
        "expected a value",
    ),
    Bad(
        "never a characteristic that is not there",
        {"patients__training__never": [{"mood": "low"}]},
        "patients.training.never.0.mood",
        "expected one of age_band, coping, hobbies",
    ),
    Bad(
        "never a level that is not there",
        {"patients__training__never": [{"coping": "well"}]},
        "patients.training.never.0.coping",
        "expected one of one, other, found 'well'",
    ),
    Bad(
        "never anybody",
        {"patients__training__never": [{"coping": "one"}, {"coping": "other"}]},
        "patients.training.never",
        "expected to leave some patients",
    ),
    Bad(
        "fixed profiles without names",
        {"patients__training__profile": "mine.j2", "patients__training__names": []},
        "patients.training.names",
        "expected a name for each patient",
    ),
    Bad("language that is not there", {"language": "xx"}, "language", "prompts/xx/language.yaml"),
    Bad(
        "homework probe without rules in the language",
        {
            "language": "de",
            "raters__judge__probes": {"which": ["no_homework"], "homework_item": "homework"},
        },
        "raters.judge.probes",
        "prompts/de/probe/homework.yaml: expected a prompt file, there is none",
    ),
    Bad(
        "characteristic without levels",
        {"patients__training__characteristics__coping": {}},
        "patients.training.characteristics.coping",
        "expected at least 1",
    ),
    Bad(
        "gap between phases",
        {"phases__1__sessions": [3, 3]},
        "phases.1.sessions",
        "expected to begin at session 2, found 3",
    ),
    Bad(
        "phases end too soon",
        {"sessions__count": 3},
        "phases",
        "expected to cover sessions 1 to 3, found 1 to 2",
    ),
    Bad(
        "phase backwards",
        {"phases__1__sessions": [3, 2]},
        "phases.1.sessions",
        "1 <= first <= last",
    ),
    Bad(
        "lengths upside down",
        {"courses__turn_chars": [90, 20]},
        "courses.turn_chars",
        "1 <= shortest <= longest",
    ),
    Bad(
        "negative length",
        {"sessions__summary_chars": [-5, 9]},
        "sessions.summary_chars",
        "1 <= shortest <= longest",
    ),
    Bad(
        "unknown stop rule",
        {"sessions__stop": [{"rule": "gong"}]},
        "sessions.stop.0.rule",
        "expected one of 'end_token', 'summ",
    ),
    Bad(
        "stop rule without a mark",
        {"sessions__stop": [{"rule": "end_token", "mark": ""}]},
        "sessions.stop.0.mark",
        "expected at",
    ),
    Bad(
        "farewell without phrases",
        {"sessions__stop": [{"rule": "farewell"}]},
        "sessions.stop.0.phrases",
        "expected a value",
    ),
    Bad(
        "nothing to train on",
        {"dataset": {"held_out": 0.6, "test": 0.4}},
        "dataset.held_out",
        "expected held_out + test below 1",
    ),
    Bad(
        "nothing to choose an epoch by",
        {"dataset": {"held_out": 0}, "models__smollm2__recipe__keep": "best"},
        "models.smollm2.recipe.keep",
        "expected last, or dataset.held_out or dataset.test above 0",
    ),
    Bad("no view", {"raters__judge__views": []}, "raters.judge.views", "expected at least 1"),
    Bad(
        "view twice",
        {"raters__judge__views": ["plain", "plain"]},
        "raters.judge.views",
        "expected each once",
    ),
    Bad("no rater", {"raters": {}}, "raters", "expected at least 1 of them"),
    Bad(
        "rater like a role",
        {"raters__patient": {"endpoint": "script"}},
        "raters.patient",
        "expected another name than that of a role",
    ),
    Bad(
        "probes of another rater",
        {"raters__second": {"endpoint": "script", "probes": {"which": ["empty"]}}},
        "raters.second.probes.which",
        "expected none, only judge is probed",
    ),
    Bad(
        "scale twice",
        {"raters__judge__scales": ["ctrs", "ctrs"]},
        "raters.judge.scales",
        "expected each once",
    ),
    Bad(
        "two headlines",
        {"raters__second": {"endpoint": "script"}}
        | {"analysis": {"judge": "judge", "outcomes": ["second.total"], "contrasts": []}},
        "analysis.judge",
        "expected second or none",
    ),
    Bad(
        "no such measure",
        {"analysis__outcomes": ["total", "sum"]},
        "analysis.outcomes.1",
        "expected a measure of ctrs (total), found 'sum'",
    ),
    Bad(
        "lowest of what has no lowest value",
        {"prompts": "own", "raters__judge__scales": ["less"], "analysis__unrated": "lowest"},
        "analysis.unrated",
        "expected missing, since fewer has no lowest value",
    ),
    Bad(
        "probes of what has no highest value",
        {"raters__judge__scales": ["miti"], "analysis__outcomes": ["reflections_to_questions"]}
        | {"raters__judge__probes": {"which": ["empty", "guess_plain"]}},
        "raters.judge.probes.which",
        "expected none but guesses, since reflections_to_questions has no lowest or no highest",
    ),
    Bad(
        "outcome twice",
        {"analysis__outcomes": ["total", "judge.total"]},
        "analysis.outcomes",
        "expected each measure of a rater once, found total twice",
    ),
    Bad(
        "more primary outcomes than outcomes",
        {"analysis__outcomes": ["total"], "analysis__primary_outcomes": 2},
        "analysis.primary_outcomes",
        "expected at most 1, the number of outcomes, found 2",
    ),
    Bad(
        "unknown kind of rater",
        {"raters__crew": {"kind": "crowd"}},
        "raters.crew.kind",
        "expected one of 'model', 'people', 'rule', found 'crowd'",
    ),
    Bad(
        "people at an endpoint",
        {"raters__crew": {"kind": "people", "endpoint": "script"}},
        "raters.crew.endpoint",
        "unknown field",
    ),
    Bad(
        "rules like a scale",
        {"raters__ctrs": {"kind": "rule", "rules": {"n": {"count": "words"}}}},
        "raters.ctrs",
        "expected another name than that of a scale",
    ),
    Bad(
        "rules without one",
        {"raters__counter": {"kind": "rule", "rules": {}}},
        "raters.counter.rules",
        "expected at least 1 of them",
    ),
    Bad(
        "rule of nothing",
        {"raters__counter": {"kind": "rule", "rules": {"n": {}}}},
        "raters.counter.rules.n.count",
        "expected either a count, a flag or labels",
    ),
    Bad(
        "rule without its regex",
        {"raters__counter": {"kind": "rule", "rules": {"n": {"count": "matches"}}}},
        "raters.counter.rules.n.regex",
        "expected one with `count: matches` and none without",
    ),
    Bad(
        "regex that is none",
        {"raters__counter": {"kind": "rule", "rules": {"n": {"count": "matches", "regex": "("}}}},
        "raters.counter.rules.n.regex",
        "expected a regular expression, found '('",
    ),
    Bad(
        "share of all",
        {
            "raters__counter": {
                "kind": "rule",
                "rules": {"n": {"count": "words", "of": "both", "share": True}},
            }
        },
        "raters.counter.rules.n.share",
        "expected the share of one speaker",
    ),
    Bad(
        "no such rule",
        {
            "raters__counter": {"kind": "rule", "rules": {"n": {"count": "words"}}},
            "analysis__outcomes": ["total", "counter.m"],
        },
        "analysis.outcomes.1",
        "expected a measure of counter (n), found 'counter.m'",
    ),
    Bad(
        "unknown endpoint of a role",
        {"raters__judge__endpoint": "gpt"},
        "raters.judge.endpoint",
        "expected one of ['counted', 's",
    ),
    Bad(
        "unknown endpoint of an arm",
        {"arms__0__endpoint": "gpt"},
        "arms.0.endpoint",
        "expected one of ['counted', 'script']",
    ),
    Bad(
        "unknown kind of endpoint",
        {"endpoints__script__kind": "openai"},
        "endpoints.script.kind",
        "expected one of 'llama_cpp'",
    ),
    Bad(
        "endpoint without a kind",
        {"endpoints__script": {}},
        "endpoints.script.kind",
        "expected a value, none given",
    ),
    Bad(
        "finetuned judge",
        judge_at(gguf("finetuned")),
        "raters.judge.endpoint",
        "expected a fixed model",
    ),
    Bad(
        "no GGUF",
        judge_at(gguf("none.gguf")),
        "endpoints.other.gguf",
        "none.gguf: expected a file, there is none",
    ),
    Bad(
        "GGUF of text",
        judge_at(gguf("{tmp}/text.gguf")),
        "endpoints.other.gguf",
        "does not begin with its magic bytes",
    ),
    Bad(
        "folder as a GGUF",
        judge_at(gguf("{tmp}/folder.gguf")),
        "endpoints.other.gguf",
        "expected a regular file, it is a folder",
    ),
    Bad(
        "GGUF of no package",
        judge_at(gguf("package:no_such/x.gguf")),
        "endpoints.other.gguf",
        "an installed Python package",
    ),
    Bad(
        "no key",
        judge_at(litellm(api_key_env="CBT_RAY_NO_KEY")),
        "endpoints.other.api_key_env",
        "CBT_RAY_NO_KEY to hold a key",
    ),
    Bad(
        "literal key",
        judge_at(litellm(api_key_env=SECRET)),
        "endpoints.other.api_key_env",
        "never the key itself",
    ),
    Bad(
        "literal key by another name",
        judge_at(litellm(api_key=SECRET)),
        "endpoints.other.api_key",
        "expected api_key_env",
    ),
    Bad(
        "key in the wrong place",
        {"endpoints__script__kind": SECRET},
        "endpoints.script.kind",
        "expected one of 'llama_cpp'",
    ),
    Bad(
        "key as an endpoint",
        {"raters__judge__endpoint": SECRET},
        "raters.judge.endpoint",
        "expected one of ['counted', 'script']",
    ),
    Bad(
        "key as a number",
        {"endpoints__script__latency_s": SECRET},
        "endpoints.script.latency_s",
        "expected a number",
    ),
    Bad(
        "password in an address",
        judge_at(litellm(f"https://user:{SECRET}@host/v1")),
        "endpoints.other.api_base",
        "without user, password or query",
    ),
    Bad(
        "key in an address",
        judge_at(litellm(f"https://host/v1?key={SECRET}")),
        "endpoints.other.api_base",
        "without user, passw",
    ),
    Bad(
        "key in the store's address",
        {"store": f"s3://{SECRET}@bucket/x"},
        "store",
        "expected s3://bucket/prefix",
    ),
    Bad(
        "key in the store's query",
        {"store": f"s3://bucket/x?aws_secret_access_key={SECRET}"},
        "store",
        "expected no other query",
    ),
    Bad(
        "password in the store's server",
        {"store": f"s3://bucket/x?endpoint=http://u:{SECRET}@h"},
        "store",
        "expected an endpoint",
    ),
    Bad(
        "store of another kind",
        {"store": f"https://user:{SECRET}@host"},
        "store",
        "expected a folder or s3://bucket/prefix",
    ),
    Bad(
        "file as a store", {"store": "{tmp}/file"}, "store", "expected a folder that can be written"
    ),
    Bad(
        "store below a file",
        {"store": "{tmp}/file/runs"},
        "store",
        "expected a folder that can be written",
    ),
    Bad(
        "store where nothing can be written",
        {"store": "/proc/runs"},
        "store",
        "expected a folder that can be written",
    ),
    Bad(
        "unknown scale",
        {"raters__judge__scales": ["hamilton"]},
        "raters.judge.scales",
        "hamilton/scale.yaml: expected a prompt file",
    ),
    Bad(
        "broken scale",
        {"prompts": "own", "raters__judge__scales": ["phq"]},
        "raters.judge.scales",
        "phq/scale.yaml, line 2: expected YAML",
    ),
    Bad(
        "scale with a word twice",
        {"prompts": "own", "raters__judge__scales": ["twice"]},
        "raters.judge.scales",
        "words.1.word: expected each word once",
    ),
    Bad(
        "unknown prompt",
        {"arms__0__prompt": "nova.j2"},
        "arms.0.prompt",
        "nova.j2: expected a prompt file",
    ),
    Bad(
        "prompt that asks too much",
        {"prompts": "own", "arms__0__prompt": "greedy.j2"},
        "arms.0.prompt",
        "'diagnosis' is undefined",
    ),
    Bad(
        "torn prompt",
        {"prompts": "torn", "arms__0__prompt": "torn.j2"},
        "arms.0.prompt",
        "expected a Jinja2 template",
    ),
    Bad(
        "torn prompt that nobody asks for",
        {"prompts": "torn"},
        "prompts",
        "torn.j2, line 1: expected a Jinja2 template",
    ),
    Bad("no folder of prompts", {"prompts": "mine"}, "prompts", "expected a folder"),
    Bad(
        "generator without a licence",
        {"arms__0__tuned": True},
        "endpoints.counted.licence",
        "expected the licence of the generator, whose texts are trained on",
    ),
    Bad(
        "generator whose terms forbid training",
        {"arms__0__tuned": True, "endpoints__counted": litellm(licence="OpenAI")},
        "endpoints.counted.licence",
        "expected terms that allow to train on outputs, OpenAI terms of use do not: you may not",
    ),
    Bad(
        "base model of an unknown licence",
        {
            "arms__0__tuned": True,
            "models__smollm2__recipe__licence": "proprietary",
            "endpoints__counted": litellm(licence="MIT"),
        },
        "models.smollm2.recipe.licence",
        "expected a licence whose terms are known, found 'proprietary'",
    ),
    Bad(
        "terms without a source",
        {"licences": {"Own": {"read": "text"}}},
        "licences.Own.source",
        "expected a value, none given",
    ),
    Bad(
        "half a step",
        {"models__smollm2__recipe__warmup_steps": 2.5},
        "models.smollm2.recipe.warmup_steps",
        "expected whole steps",
    ),
    Bad(
        "no recipe",
        {"models__smollm2__recipe": "recipes/x.yaml"},
        "models.smollm2.recipe",
        "recipes/x.yaml: expected a file",
    ),
    Bad(
        "misspelt field of a recipe file",
        {"models__smollm2__recipe": "typo.yaml"},
        "models.smollm2.recipe.learning_rat (typo.yaml)",
        "unknown field, expected learning_rate",
    ),
)


def in_folder(value: Any, folder: Path) -> Any:
    """`{tmp}` in a case is the test's folder."""
    if isinstance(value, Mapping):
        return {name: in_folder(part, folder) for name, part in value.items()}
    return value.replace("{tmp}", str(folder)) if isinstance(value, str) else value


def counted_study(server: FaultyServer, folder: Path, changes: Mapping[str, Any]) -> Path:
    counted = {
        "endpoints__counted": litellm(server.url),
        "roles__generator__endpoint": "counted",
        "store": str(folder / "runs"),
    }
    return write_study(folder, example_study(**counted | in_folder(changes, folder)))


@pytest.mark.parametrize("bad", STUDY_FILES, ids=lambda bad: bad.name.replace(" ", "-"))
def test_bad_study_file(
    bad: Bad, files: Path, counting: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    before = counting.calls
    study = counted_study(counting, files, bad.changes)
    assert run(["study", str(study), "--inline"]) == FIRST_YOU
    line = one_line(capsys)
    assert line.startswith(f"cbt-ray: {study}: {bad.field}: ")
    assert bad.expected in line
    assert (counting.calls, stored(files)) == (before, [])


def test_the_study_that_all_cases_change_is_good(files: Path, counting: FaultyServer) -> None:
    before = counting.calls
    study = counted_study(counting, files, {})
    assert run(["generate", str(study), "--inline"]) == 0
    assert (
        counting.calls - before == 1 + 2 + 2 * 2 * 4
    )  # the probe, two profiles, two courses of two sessions in four parts
    assert len(stored(files)) == 2 + 4


TEXTS = (
    ("duplicate-key", b"study: small\nseed: 1\nseed: 2\n", "line 3: 'seed' is given twice"),
    ("broken", b"study: [small\nseed: 1\n", "line 2: expected YAML: "),
    ("tab", b"study: small\n\tseed: 1\n", "line 2: expected YAML: "),
    (
        "tag-of-python",
        b"study: !!python/object/apply:os.getcwd []\n",
        "expected a plain value, found the tag tag:yaml.org,2002:python/object/apply",
    ),
    ("list-as-key", b"? [study]\n: small\n", "line 1: expected a name, found a list or a mapping"),
    ("list", b"- study\n- small\n", "expected a mapping of fields, found list"),
    ("empty", b"", "expected a mapping of fields, found nothing"),
    ("no-text", b"\xff\xfe\x00study", "expected text in UTF-8"),
)


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in TEXTS], ids=[case[0] for case in TEXTS]
)
def test_file_that_is_no_study(
    text: bytes, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(text)
    assert run(["study", str(file), "--inline"]) == FIRST_YOU
    line = one_line(capsys)
    assert line.startswith(f"cbt-ray: {file}")
    assert expected in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none.yaml", "expected a file, there is none"),
        (".", "expected a regular file, it is a folder"),
    ],
)
def test_study_that_cannot_be_read(
    name: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(tmp_path / name)]) == FIRST_YOU
    line = one_line(capsys)
    assert line.startswith(f"cbt-ray: {tmp_path / name}: ")
    assert expected in line


COMMANDS = (
    (
        "set-without-a-value",
        ["plan", "{study}", "--set", "seed"],
        "--set seed: expected FIELD=VALUE",
    ),
    (
        "set-broken-yaml",
        ["plan", "{study}", "--set", "seed=["],
        "--set seed, line 2: expected YAML: ",
    ),
    (
        "set-unknown-field",
        ["plan", "{study}", "--set", "sead=1"],
        "{study}: sead: unknown field, expected seed",
    ),
    (
        "set-below-a-number",
        ["plan", "{study}", "--set", "seed.x=1"],
        "{study}: --set seed.x: no such field",
    ),
    (
        "set-beyond-a-list",
        ["plan", "{study}", "--set", "arms.4.name=x"],
        "{study}: --set arms.4.name: no such field",
    ),
    (
        "set-wrong-type",
        ["plan", "{study}", "--set", "seed=x"],
        "{study}: seed: expected a whole number, found 'x'",
    ),
    (
        "set-a-key",
        ["plan", "{study}", "--set", f"endpoints.script.api_key={SECRET}"],
        "{study}: endpoints.script.api_key: unknown",
    ),
    (
        "train-unknown-model",
        ["train", "{study}", "--model", "qwen"],
        "--model: unknown model 'qwen', expected one of ['smollm2']",
    ),
    (
        "chat-unknown-arm",
        ["chat", "{study}", "--arm", "best"],
        "--arm: unknown arm 'best', expected one of ['plain']",
    ),
    (
        "export-to-a-file",
        ["data", "{study}", "--to", "{file}"],
        "{study}: --to: expected a folder that can be written",
    ),
    ("no-study", ["plan"], "Missing argument 'STUDY'; see: cbt-ray plan --help"),
    ("unknown-command", ["plann", "{study}"], "No such command 'plann'"),
    ("unknown-option", ["plan", "{study}", "--fast"], "No such option"),
)


@pytest.mark.parametrize(
    ("arguments", "expected"), [case[1:] for case in COMMANDS], ids=[case[0] for case in COMMANDS]
)
def test_bad_command_line(
    arguments: list[str], expected: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(files, example_study(store=str(files / "runs")))
    names = {"{study}": str(study), "{file}": str(files / "file")}
    assert run([names.get(argument, argument) for argument in arguments]) == FIRST_YOU
    assert expected.replace("{study}", str(study)) in one_line(capsys)
    assert stored(files) == []


class Remote(NamedTuple):
    """What a server does with the probe, the exit code, what the line says."""

    behaviour: Behaviour
    code: int
    expected: str


REMOTES = {
    "401": Remote(
        UNAUTHORIZED,
        FIRST_YOU,
        r"endpoints\.remote\.api_key_env: expected a key that the endpoint accepts \(401",
    ),
    "404": Remote(
        UNKNOWN_MODEL,
        FIRST_YOU,
        r"endpoints\.remote\.model: expected a call that openai/scripted accepts \(404",
    ),
    "503": Remote(Behaviour(status=503), AGAIN, r"endpoints\.remote: openai/scripted: "),
}


@pytest.mark.parametrize("name", REMOTES)
def test_endpoint_that_refuses_the_probe(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CBT_RAY_TEST_KEY", SECRET)
    with FaultyServer(lambda *_: REMOTES[name].behaviour) as server:
        study = remote_study(tmp_path, litellm(server.url, api_key_env="CBT_RAY_TEST_KEY"))
        assert run(["study", str(study), "--inline"]) == REMOTES[name].code
    line = one_line(capsys)
    assert line.startswith(
        f"cbt-ray: {study}: roles.generator.endpoint: expected an answer to a short call: "
    )
    assert re.search(REMOTES[name].expected, line)
    assert (server.calls, stored(tmp_path)) == (1, [])
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"


def test_endpoint_that_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = remote_study(tmp_path, litellm())
    assert run(["study", str(study), "--inline"]) == AGAIN
    line = one_line(capsys)
    assert line.startswith(f"cbt-ray: {study}: roles.generator.endpoint: ")
    assert "onnection" in line
    assert stored(tmp_path) == []


def remote_study(folder: Path, endpoint: Mapping[str, Any]) -> Path:
    roles = asked_at("remote")
    return write_study(
        folder, example_study(endpoints__remote=dict(endpoint), store=str(folder / "runs"), **roles)
    )
