"""The installed llama.cpp: the best of its builds is taken, what this CPU lacks is named before one
is loaded, and a build that dies is explained.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import llama_cpp
import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm import build, first_decode
from cbt_ray.llm.build import best_build
from cbt_ray.llm.first_decode import try_build
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.llm.llamacpp import LlamaCppModel
from cbt_ray.study import load_study
from cbt_ray.study.endpoint import Role
from cbt_ray.work.inputs import check_endpoints
from tests.study.example import example_study, write_study

EPYC = (
    "processor\t: 0\nflags\t\t: fpu sse4_2 fma f16c avx avx2 bmi2\nbugs\t\t: "
    "spectre_v1\n\nprocessor\t: 1\nflags\t\t: fpu\n"
)
NEOVERSE = (
    "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd atomics asimddp\nCPU "
    "implementer\t: 0x41\n"
)


SEVERAL = (
    "amx avx2 fma avx512f avx512_vnni amx_tile amx_int8\n"
    "avx512 avx2 fma avx512f avx512_vnni\n"
    "v3 avx2 fma\n"
)


def put(folder: Path, record: str | None, cpu: str | None) -> tuple[Path, Path]:
    for name, text in (("record", record), ("cpu", cpu)):
        if text is not None:
            (folder / name).write_text(text)
    return folder / "record", folder / "cpu"


@pytest.mark.parametrize(
    ("record", "cpu", "missing"),
    [
        ("native avx avx2 avx512f avx512_vnni amx_int8\n", EPYC, "avx512f, avx512_vnni, amx_int8"),
        ("native sse4_2 fma vnni\n", EPYC, "vnni"),
        ("native atomics asimddp i8mm sve\n", NEOVERSE, "i8mm, sve"),
        ("native avx2 fma\n", NEOVERSE, "avx2, fma"),
        ("portable avx2 fma\n", EPYC.replace(" avx2", ""), "avx2"),
        (SEVERAL, EPYC.replace(" avx2", ""), "avx2"),
    ],
)
def test_what_this_cpu_lacks_is_named(tmp_path: Path, record: str, cpu: str, missing: str) -> None:
    with pytest.raises(
        InputError, match=rf"a CPU with {missing}, which this one lacks; "
    ) as caught:
        best_build(*put(tmp_path, record, cpu))
    assert ("make clean" in str(caught.value)) is record.startswith("native")


@pytest.mark.parametrize(
    ("record", "cpu"),
    [
        ("native avx avx2 fma\n", EPYC),
        ("portable atomics asimddp\n", NEOVERSE),
        ("native\n", EPYC),
        (None, EPYC),
        ("native avx512f\n", None),
        ("native avx512f\n", "processor\t: 0\nmachine\t: another\n"),
    ],
)
def test_what_it_has_or_nobody_knows_is_let_pass(
    tmp_path: Path, record: str | None, cpu: str | None
) -> None:
    best_build(*put(tmp_path, record, cpu))


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("", "v3"),
        (" avx512f", "v3"),
        (" avx512f avx512_vnni", "avx512"),
        (" avx512f avx512_vnni amx_tile", "avx512"),
        (" avx512f avx512_vnni amx_tile amx_int8", "amx"),
        (" amx_tile amx_int8", "v3"),
    ],
)
def test_the_best_build_that_this_cpu_has_is_taken(tmp_path: Path, more: str, name: str) -> None:
    assert best_build(*put(tmp_path, SEVERAL, EPYC.replace(" avx2", f" avx2{more}"))).name == name


def test_where_nobody_knows_the_cpu_it_is_the_one_that_needs_least(tmp_path: Path) -> None:
    assert best_build(*put(tmp_path, SEVERAL, None)).name == "v3"


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Several builds beside each other, none of which was loaded yet."""
    record, _ = put(tmp_path, SEVERAL, None)
    (tmp_path / "lib").mkdir()
    for name in ("amx", "avx512", "v3"):
        (tmp_path / "lib" / f"libggml-cpu-{name}.so").touch()
    monkeypatch.setattr(build, "record_of", lambda: record)
    monkeypatch.setattr(build, "_instruction_sets", lambda _: {"avx2", "fma"})
    monkeypatch.setattr(build, "_load", lru_cache(build._load.__wrapped__))
    return tmp_path / "lib"


def loader(monkeypatch: pytest.MonkeyPatch, answer: int) -> list[Path]:
    """Stands in for ggml's loader, and answers what it is given."""
    loaded = []

    def load(path: bytes) -> int:
        loaded.append(Path(path.decode()))
        return answer

    monkeypatch.setattr("llama_cpp._ggml.libggml", SimpleNamespace(ggml_backend_load=load))
    return loaded


@pytest.mark.llama
def test_a_build_beside_others_is_loaded_once(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loader(monkeypatch, 1)
    build.bindings()
    build.bindings()
    assert loaded == [beside / "libggml-cpu-v3.so"]


@pytest.mark.llama
def test_one_that_its_own_test_of_the_cpu_refuses_is_told(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader(monkeypatch, 0)
    with pytest.raises(InputError, match=rf"{beside}/libggml-cpu-v3\.so does not load"):
        build.bindings()


def test_a_study_is_refused_before_llama_cpp_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = put(tmp_path, "native amx_tile\n", EPYC)
    monkeypatch.setattr(build, "record_of", lambda: record)
    monkeypatch.setattr(build, "_instruction_sets", lambda _: {"avx2"})
    embedded = {"kind": "llama_cpp", "gguf": first_decode.EMBEDDED, "licence": "Apache-2.0"}
    study = load_study(write_study(tmp_path, example_study(endpoints__embedded=embedded)))
    with pytest.raises(
        InputError,
        match=r"study\.yaml: endpoints\.embedded: llama\.cpp: compiled for a CPU with amx_tile",
    ):
        check_endpoints(study, [Role(endpoint="embedded")])


@pytest.mark.llama
def test_layers_for_a_gpu_are_refused_where_llama_cpp_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offloads = {"kind": "llama_cpp", "gguf": first_decode.EMBEDDED, "gpu_layers": 99}
    study = load_study(write_study(tmp_path, example_study(endpoints__embedded=offloads)))
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: False)
    said = r"gpu_layers: expected 0, or a GPU and a llama\.cpp .* CUDA or Metal, found 99$"
    with pytest.raises(InputError, match=rf"study\.yaml: endpoints\.embedded: {said}"):
        check_endpoints(study, [Role(endpoint="embedded")])
    embedded = load_gguf_path(first_decode.EMBEDDED)
    with pytest.raises(InputError, match=said):  # on another machine than the one that checked
        LlamaCppModel(embedded, context=512, gpu_layers=99)
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    check_endpoints(study, [Role(endpoint="embedded")])
    for parallel in (1, 2):
        model = LlamaCppModel(embedded, context=512, gpu_layers=99, parallel=parallel)
        assert model._llama.model_params.n_gpu_layers == 99
        model.close()


DIES = "import os, signal; os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("SIGILL", "lacks an instruction"),
        ("SIGSEGV", "wrong code"),
        ("SIGABRT", "gave up"),
        ("SIGKILL", "memory"),
        ("SIGUSR1", ""),
    ],
)
def test_a_build_that_dies_is_told_with_signal_cause_and_remedy(name: str, cause: str) -> None:
    with pytest.raises(
        InputError, match=rf"^llama\.cpp: its first decode died of {name}; .*{cause}"
    ) as caught:
        try_build([sys.executable, "-c", DIES.format(name)])
    assert (
        "run the same command again" if name == "SIGKILL" else "make study LLAMA=portable"
    ) in str(caught.value)


def test_one_that_fails_or_hangs_is_told_too() -> None:
    with pytest.raises(InputError, match=r"failed \(ValueError: no model\)"):
        try_build([sys.executable, "-c", "raise ValueError('no model')"])
    with pytest.raises(InputError, match=r"no answer within 0\.2 s"):
        try_build([sys.executable, "-c", "import signal; signal.pause()"], within=0.2)


def test_every_cause_is_of_a_signal_that_ends_a_process() -> None:
    assert all(
        isinstance(name, signal.Signals) and cause for name, cause in first_decode.CAUSES.items()
    )


@pytest.mark.llama
def test_set_up_ends_with_a_speed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cbt_ray.llm.first_decode"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.split("answers, ")[1].split(" tokens/s")[0]) >= 0


@pytest.mark.llama
def test_the_installed_build_says_what_it_was_compiled_for() -> None:
    best = best_build()
    assert best in build.builds()
    assert best.name in ("native", "portable", "amx", "avx512", "v3")
    assert best.needed
    assert set(best.needed) <= build._instruction_sets(build.CPU)
