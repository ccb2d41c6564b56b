"""A study's models in a real vLLM on the CPU: base and adapters pass, sessions are held, and a
server with other weights or another template is refused by name.
"""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cbt_ray.__main__ import run
from cbt_ray.study import load_study
from cbt_ray.study.model import Checkpoint
from cbt_ray.unit import Status
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.served import served
from tests.needs import needs
from tests.stages import scripted

pytestmark = [pytest.mark.vllm, pytest.mark.train, pytest.mark.llama]
VLLM = Path(__file__).parents[2] / ".vllm" / "bin" / "vllm"
SMALL = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "OMP_NUM_THREADS": "1",
}
FIRST, SECOND, PLAIN = (
    Checkpoint("first", True),
    Checkpoint("first", True, 1),
    Checkpoint("first", False),
)


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, speaking: Path, port: int) -> Bench:
    """A study whose model was trained with two seeds, and exported as it was."""
    needs("vllm", VLLM.exists())
    folder = tmp_path_factory.mktemp("vllm")
    document = scripted.study_document(folder / "store", **scripted.tuned(speaking, "first"))
    document["models"]["first"]["seeds"] = 2
    document["arms"] = [{"name": "plain", "model": "first"}, *scripted.TUNED_ARMS[:1]]
    document["analysis"] = {}
    document["endpoints"]["own"] = {
        "kind": "vllm",
        "weights": "finetuned",
        "dtype": "float32",
        "context": 2048,
        "api_base": f"http://127.0.0.1:{port}/v1",
        "timeout_s": 600,
        "wait_s": 0,
    }
    document["roles"] = {**document["roles"], "therapist": {"endpoint": "own"}}
    document["sessions"] = {"count": 1, "max_messages": 4}
    file = scripted.write_study(folder, document)
    for command in (["generate", str(file), "--inline"], ["dataset", str(file)]):
        assert run(command) == 0
    for command in (["train", str(file)], ["export", str(file)]):
        assert run(command) == 0
    return Bench(load_study(file), Silent(), inline=True)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBT_RAY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)


def started(bench: Bench, port: int, program: Path, *more: str) -> subprocess.Popen[str]:
    command = ["serve", bench.study.file, "--model", "first", "--port", str(port)]
    options = ["--vllm", program, *more, "--", "--enforce-eager"]
    return scripted.start(*command, *options)


def name_of(bench: Bench, made: Checkpoint) -> str:
    return served(bench.keys, made, "own").name


def verdict(bench: Bench, made: Checkpoint) -> tuple[Status, str | None]:
    unit = bench.store.get(bench.keys.served(made, "own"))
    assert unit is not None
    return unit.status, unit.reason


def test_sessions_are_held_with_base_and_adapters_that_passed(
    bench: Bench, port: int, tmp_path: Path
) -> None:
    ready, file = tmp_path / "ready", str(bench.study.file)
    assert run(["simulate", file, "--inline"]) == 1, "nobody answers yet"
    process = started(bench, port, VLLM, "--ready", str(ready))
    try:
        scripted.wait_until(ready.exists, process)
        for made in (FIRST, SECOND, PLAIN):
            assert verdict(bench, made) == (Status.DONE, None)
        assert run(["simulate", file, "--inline"]) == 0
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=scripted.PATIENCE_S)
    assert process.returncode == 0, said
    assert not ready.exists()
    sessions = scripted.units(Path(bench.study.store), scripted.Stage.SESSIONS).values()
    models = [unit.provenance["models"] for unit in sessions]
    told = sorted(one for by in models for role, one in by.items() if role.startswith("therapist."))
    assert told == sorted(name_of(bench, made) for made in (FIRST, SECOND, PLAIN) for _ in range(2))
    assert all(unit.status is Status.DONE for unit in sessions)


def test_what_was_not_trained_is_refused_by_name(bench: Bench, port: int, tmp_path: Path) -> None:
    """A server that has the right names: the first is the second's adapter, the second an earlier
    one, and the template is another.
    """
    template = tmp_path / "other.jinja"
    template.write_text("{% for one in messages %}[INST]{{ one.content }}[/INST]{% endfor %}")
    program = _written(
        tmp_path / "program",
        FOREIGN.format(
            python=sys.executable,
            vllm=str(VLLM),
            first=name_of(bench, FIRST),
            second=name_of(bench, SECOND),
            earlier=str(_earlier(bench, tmp_path / "earlier")),
            template=str(template),
        ),
    )
    process = started(bench, port, program)
    said, _ = process.communicate(timeout=scripted.PATIENCE_S)
    assert process.returncode == 2, said
    lines = [line for line in said.splitlines() if line.startswith("cbt-ray: ")]
    field = f"cbt-ray: {bench.study.file}: endpoints.own: the server of first: "
    first, second = name_of(bench, FIRST), name_of(bench, SECOND)
    for name in (first, second, name_of(bench, PLAIN)):
        assert any(line.startswith(f"{field}{name}: served.template: ") for line in lines)
    greedy = [line for line in lines if ": served.greedy: " in line]
    assert [line.removeprefix(field).split(":")[0] for line in greedy] == [first, second]
    assert verdict(bench, FIRST) == (Status.REJECTED, "served.template, served.greedy")
    assert verdict(bench, PLAIN) == (Status.REJECTED, "served.template")


FOREIGN = """#!{python}
import os, sys
arguments = sys.argv[1:]
folders = dict(one.split("=", 1) for one in arguments if one.startswith("first-tuned"))
for at, one in enumerate(arguments):
    if one.startswith("{first}="):
        arguments[at] = "{first}=" + folders["{second}"]
    if one.startswith("{second}="):
        arguments[at] = "{second}={earlier}"
os.execv("{vllm}", ["{vllm}", *arguments, "--chat-template", "{template}"])
"""


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def _earlier(bench: Bench, folder: Path) -> Path:
    """The second's adapter as it was halfway through its training."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    weights = ["weights", str(bench.study.file), "--arm", "first-tuned", "--seed", "1"]
    assert run([*weights, "--to", str(folder)]) == 0
    file = folder / "adapter" / "adapter_model.safetensors"
    halved = {name: one * (0.5 if "lora_B" in name else 1) for name, one in load_file(file).items()}
    save_file(halved, file)
    return file.parent
