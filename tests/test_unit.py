"""A unit's document: what is written is read, whatever is harmed is noticed, and another release's
is told from a torn one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cbt_ray.__main__ import run
from cbt_ray.errors import InputError
from cbt_ray.store import open_store
from cbt_ray.unit import FORMAT, Head, OtherFormat, Status, Unit
from cbt_ray.work.keys import Keys
from cbt_ray.work.workshop import prompts_of
from tests.store.examples import key, rejected, unit
from tests.study.example import example_study, loaded, write_study

MADE_FROM = {str(key("p0")): "0123456789abcdef"}
UNITS = [
    unit(),
    rejected(),
    Unit(
        key(),
        {"text": "line\nline\r\u2028\x85 \\ \"'"},
        provenance={"b": 1, "a": [None, True, 0.1]},
        made_from=MADE_FROM,
    ),
]


@pytest.mark.parametrize("made", UNITS, ids=["done", "rejected", "of strange characters"])
def test_what_is_written_is_read(made: Unit) -> None:
    data = made.to_bytes()
    read = Unit.from_bytes(data)
    assert (read, read.digest, read.to_bytes()) == (made, made.digest, data)
    assert Head.from_bytes(data) == made.head
    assert (list(read.content), list(read.provenance)) == (
        list(made.content),
        list(made.provenance),
    ), "keys in their order"
    document = json.loads(data)
    assert (document["content"], document["made_from"], document["digest"]) == (
        made.content,
        made.made_from,
        made.digest,
    )


def test_digest_is_of_what_it_says_and_not_of_who_made_it() -> None:
    one = Unit(key(), {"a": 1}, provenance={"seconds": 1}, made_from={})
    assert (
        one.digest
        == Unit(key("other"), {"a": 1}, provenance={"seconds": 2}, made_from=MADE_FROM).digest
    )
    others = [
        Unit(key(), {"a": 2}, made_from={}),
        Unit(key(), {"a": 1}, Status.REJECTED, made_from={}),
        Unit(key(), {"a": 1}, reason="x", made_from={}),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 4


@pytest.mark.parametrize("made", UNITS, ids=["done", "rejected", "of strange characters"])
def test_every_flipped_bit_is_noticed(made: Unit) -> None:
    data = made.to_bytes()
    for place in range(len(data)):
        for bit in range(8):
            harmed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            for kind in (Unit, Head):
                with pytest.raises(ValueError, match=r"."):
                    kind.from_bytes(harmed)


def test_every_cut_and_every_odd_document_is_noticed() -> None:
    data = unit().to_bytes()
    odd = [
        b"[" * 100_000,
        b"{" * 5,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b"null",
        b"{}",
        b'{"format":true}',
        data * 2,
        data + b" ",
    ]
    for harmed in (*(data[:end] for end in range(len(data))), *odd):
        for kind in (Unit, Head):
            with pytest.raises(ValueError, match=r"."):
                kind.from_bytes(harmed)


def test_a_key_that_stands_twice_is_noticed() -> None:
    twice = unit().to_bytes().replace(b'"content":', b'"content":{},\n"content":')
    with pytest.raises(ValueError, match="checksum fails"):
        Unit.from_bytes(twice)


def of_format(number: int) -> bytes:
    """A unit as a release would write it whose format has this number."""
    lines = unit().to_bytes().partition(b"\n")[2]
    sha = hashlib.sha256(b"%d\n%b" % (number, lines)).hexdigest()
    return b'{"format":%d,"sha256":"%b",\n%b' % (number, sha.encode(), lines)


OTHERS = {
    "of a newer release": (
        of_format(FORMAT + 1),
        f"a newer cbt-ray (format {FORMAT + 1}), expected format {FORMAT}",
    ),
    "of another shape": (
        json.dumps({"format": 9, "body": []}, indent=1).encode(),
        "a newer cbt-ray (format 9)",
    ),
    "of an older release": (
        json.dumps({"format": 1, "status": "done"}, indent=1).encode(),
        "an older cbt-ray (format 1)",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_unit_of_another_release_is_refused_and_stays(name: str, tmp_path: Path) -> None:
    data, said = OTHERS[name]
    with pytest.raises(OtherFormat):
        Unit.from_bytes(data)
    store = open_store(str(tmp_path))
    store.create(str(key()), data)
    with pytest.raises(InputError) as error:
        store.get(key())
    assert said in str(error.value)
    assert str(tmp_path / str(key())) in str(error.value)
    assert store.read(str(key())) == data


@pytest.mark.parametrize("command", ["status", "study", "generate", "report"])
def test_command_on_a_store_of_a_newer_release_ends_with_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_study(tmp_path, example_study(store=str(tmp_path / "runs")))
    keys = Keys(loaded(), prompts_of(loaded()))
    path = tmp_path / "runs" / str(keys.profile(1))
    path.parent.mkdir(parents=True)
    path.write_bytes(of_format(FORMAT + 1))
    assert (
        run([command, str(file), *(["--inline"] if command in ("study", "generate") else [])]) == 2
    )
    said = capsys.readouterr().err.strip()
    assert (
        said
        == f"cbt-ray: {file}: {path}: written by a newer cbt-ray (format {FORMAT + 1}), expected "
        f"format {FORMAT}"
    )
    assert path.exists()
