"""The embedded model in another quantization: made once, whole, and by one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import llama_cpp
import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.gguf_file import check_gguf
from cbt_ray.llm.llamacpp import LlamaCppModel
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.models import Models
from cbt_ray.llm.quantize import requantized
from cbt_ray.study.endpoint import Endpoint, LlamaCppEndpoint
from cbt_ray.study.study import Budget

from .conftest import EMBEDDED, ask
from .gguf_bytes import write_gguf

pytestmark = pytest.mark.llama

CALLED = """
import resource, sys, time
from pathlib import Path
from cbt_ray.errors import InputError
from cbt_ray.llm import quantize
made = quantize.quantize
def counted(*given, **more):
    print("quantized")
    made(*given, **more)
quantize.quantize = counted
source, begin, largest = sys.argv[1:]
if int(largest):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
while not Path(begin).exists():
    time.sleep(0.01)
try:
    print(quantize.requantized(Path(source), "q4_0", 1))
except InputError as error:
    sys.exit(str(error))
"""
"""Asked in a process of its own, which begins when a file is there and may write so many bytes."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CBT_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def asked(source: Path, begin: Path, largest: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CALLED, str(source), str(begin), str(largest)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kept(cache: Path) -> list[str]:
    """The files of models in the cache, also half of one."""
    return [file.name for file in cache.rglob("*.gguf")]


def types(gguf: Path) -> set[str]:
    from gguf import GGUFReader

    return {one.tensor_type.name for one in GGUFReader(gguf).tensors}


@pytest.mark.parametrize(("rule", "expected"), [("q4_0", {"Q4_0", "Q8_0"}), ("q8_0", {"Q8_0"})])
def test_it_is_the_same_model_in_other_weights(
    cache: Path, embedded_file: Path, embedded: LlamaCppModel, rule: str, expected: set[str]
) -> None:
    made = requantized(embedded_file, rule, 1)
    assert made.is_relative_to(cache)
    assert types(made) == expected | {"F32"}
    model = LlamaCppModel(made, context=512)
    question = ask("What is 1 + 1? Answer with one number.", max_tokens=20, temperature=0)
    assert model.tokenize(question.messages) == embedded.tokenize(question.messages)
    assert "2" in model.complete(question).text
    assert model.complete(question).model == f"SmolLM2-135M-Instruct.Q4_1.as-{rule}.gguf"
    model.close()


def test_an_endpoint_opens_it_and_no_other_file(cache: Path) -> None:
    own = LlamaCppEndpoint(kind="llama_cpp", gguf=EMBEDDED, context=512, requantize="q4_0")
    endpoints: dict[str, Endpoint] = {"small": own}
    models = Models(endpoints, gate_of(Meter(endpoints, Budget())))
    assert models.open("small", "patient")(ask(max_tokens=2)).model in kept(cache)
    models.close()


def test_it_is_made_once_and_anew_where_it_is_not_whole(cache: Path, embedded_file: Path) -> None:
    made = requantized(embedded_file, "q4_0", 1)
    whole, first = made.read_bytes(), made.stat().st_mtime_ns
    assert requantized(embedded_file, "q4_0", 1).stat().st_mtime_ns == first
    made.write_bytes(whole[:-1])
    made.with_name(f".{made.name}").write_bytes(b"what a killed process left")
    assert requantized(embedded_file, "q4_0", 1) == made
    assert made.read_bytes() == whole
    assert kept(cache) == [made.name]


def test_another_llama_cpp_another_rule_and_another_file_make_their_own(
    cache: Path, embedded_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [requantized(embedded_file, "q4_0", 1), requantized(embedded_file, "q8_0", 1)]
    monkeypatch.setattr(llama_cpp, "llama_version", lambda: b"0.6.0")
    places.append(requantized(embedded_file, "q4_0", 1))
    same = tmp_path / embedded_file.name
    same.write_bytes(embedded_file.read_bytes())
    assert requantized(same, "q4_0", 1) == places[2]
    same.write_bytes(embedded_file.read_bytes()[:-4] + b"\0\0\0\0")
    places.append(requantized(same, "q4_0", 1))
    assert len({place.parent for place in places}) == len(kept(cache)) == 4


def test_two_processes_at_once_make_one_file(
    cache: Path, embedded_file: Path, tmp_path: Path
) -> None:
    both = [asked(embedded_file, tmp_path / "begin") for _ in range(2)]
    (tmp_path / "begin").touch()
    told = "".join(one.communicate(timeout=120)[0] for one in both).split()
    assert len(told) == 3
    assert told.count("quantized") == 1
    assert kept(cache) == [Path(told[-1]).name]


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(
    cache: Path, embedded_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "begin").touch()
    said = asked(embedded_file, tmp_path / "begin", largest=20 << 20).communicate(timeout=120)[1]
    assert f"turns into q4_0, and room in {cache}" in said
    assert len(said.splitlines()) == 1
    assert kept(cache) == []


def test_a_result_that_is_cut_is_none(
    cache: Path, embedded_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(_source: bytes, target: bytes, _how: object) -> int:
        Path(target.decode()).write_bytes(embedded_file.read_bytes()[:-1])
        return 0

    monkeypatch.setattr(llama_cpp, "llama_model_quantize", cut)
    with pytest.raises(InputError, match=r"and room in .* \(cut\)$"):
        requantized(embedded_file, "q4_0", 1)
    assert kept(cache) == []


def test_a_source_that_is_cut_or_no_model_is_refused_in_one_line(
    cache: Path, embedded_file: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(embedded_file.read_bytes()[:-1])
    empty = write_gguf(tmp_path / "empty.gguf", {"general.architecture": "none"}, {"a": [32, 32]})
    for source in (torn, empty, tmp_path / "nowhere.gguf"):
        with pytest.raises(InputError, match=source.name) as caught:
            requantized(source, "q4_0", 1)
        assert len(str(caught.value).splitlines()) == 1
    assert kept(cache) == []


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, embedded_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    monkeypatch.setenv("CBT_RAY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"requantized.*expected a folder.*CBT_RAY_CACHE"):
        requantized(embedded_file, "q4_0", 1)


def test_a_model_in_several_files_becomes_one(cache: Path, tmp_path: Path) -> None:
    files = split(tmp_path)
    made = requantized(files[0], "q4_0", 1)
    assert types(made) >= {"Q4_0"}
    assert check_gguf(made) == made
    assert kept(cache) == [f"{files[0].stem}.as-q4_0.gguf"]
    files[1].write_bytes(files[1].read_bytes()[:-1])
    with pytest.raises(InputError, match="00002-of-00002"):
        requantized(files[0], "q4_0", 1)


def split(folder: Path) -> list[Path]:
    """The embedded model in two files."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter
    from gguf.constants import GGMLQuantizationType

    from cbt_ray.llm.gguf_file import load_gguf_path

    whole = GGUFReader(load_gguf_path(EMBEDDED))
    tensors = list(whole.tensors)
    files = [folder / f"whole-{number:05d}-of-00002.gguf" for number in (1, 2)]
    for number, (file, part) in enumerate(zip(files, (tensors[:100], tensors[100:]), strict=True)):
        writer = GGUFWriter(file, "llama")
        for field in whole.fields.values() if number == 0 else ():
            if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                kinds = [*field.types, None]
                writer.add_key_value(field.name, field.contents(), kinds[0], kinds[-2])
        for name, value in (("no", number), ("count", 2)):
            writer.add_key_value(f"split.{name}", value, GGUFValueType.UINT16)
        writer.add_key_value("split.tensors.count", len(tensors), GGUFValueType.INT32)
        for one in part:
            writer.add_tensor(one.name, one.data, raw_dtype=GGMLQuantizationType(one.tensor_type))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return files
