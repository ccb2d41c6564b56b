"""The installed llama.cpp: what this CPU lacks is named before it is loaded, and a build that dies
is explained.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm import build, first_decode
from cbt_ray.llm.build import check_build
from cbt_ray.llm.first_decode import try_build
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
    ],
)
def test_what_this_cpu_lacks_is_named(tmp_path: Path, record: str, cpu: str, missing: str) -> None:
    with pytest.raises(
        InputError, match=rf"a CPU with {missing}, which this one lacks; "
    ) as caught:
        check_build(*put(tmp_path, record, cpu))
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
    check_build(*put(tmp_path, record, cpu))


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
    record = build.record_of()
    assert record is not None
    kind, *needed = record.read_text().split()
    assert kind in ("native", "portable")
    assert needed
    assert set(needed) <= build._instruction_sets(build.CPU)
