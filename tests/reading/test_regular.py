"""Files from outside: regular ones, bounded, in UTF-8."""

import os
import socket
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.reading import loads, located, read_bytes, read_json, read_text


def test_a_text_in_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffGrüße\r\n".encode())
    assert read_text(tmp_path / "a") == "Grüße\r\n"


def test_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "socket"))
    for file, said in (
        (tmp_path / "fifo", "it is a FIFO"),
        (tmp_path, "it is a folder"),
        (Path("/dev/zero"), "it is a device"),
        (tmp_path / "absent", "there is none"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "socket", "expected a readable file"),
        (Path("a\0b"), "embedded null (byte|character)"),
    ):
        with pytest.raises(InputError, match=said):
            read_text(file, "study.yaml: prompts")
    bound.close()


def test_too_large_and_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc\xff")
    assert read_bytes(tmp_path / "a", largest=4) == b"abc\xff"
    with pytest.raises(InputError, match=r"a: expected at most 3 bytes$"):
        read_bytes(tmp_path / "a", largest=3)
    with pytest.raises(InputError, match=r"a: expected text in UTF-8, byte 4 is none$"):
        read_text(tmp_path / "a")


def test_paths(tmp_path: Path) -> None:
    assert located("a/b", tmp_path) == tmp_path / "a" / "b"
    assert located("~/x", tmp_path) == Path.home() / "x"
    for name in ("a\0b", "~nosuchuser/x", "", "  ", "\udc80\ud800"):
        with pytest.raises(InputError, match="expected a path"):
            located(name, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": ' + "9" * 5000 + "}", "a whole number of 5,000 digits"),
        ("[" * 501 + "]" * 501, "nested too deep"),
        ("[" * 3000 + "]" * 3000, "nested too deep"),
        ("{", "line 1: "),
        (b"\xff", "no UTF-8"),
    ],
)
def test_json_that_is_none(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        loads(text)
    assert "\n" not in str(caught.value)
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"a\.json: expected"):
        read_json(tmp_path / "a.json")
