"""The wheel: what is in it, and that it runs with what pip would bring along and nothing else.

No network: it is built with this environment's backend, and its libraries are links into this one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.requirements.declared import ROOT, brought, declared

pytestmark = pytest.mark.slow

SHIPPED = ("prompts", "studies", "k8s")
PRETENDED = "SETUPTOOLS_SCM_PRETEND_VERSION"


def build(source: Path, to: Path, target: str = "wheel", **environment: str) -> Path:
    """The file that the build backend makes of a folder."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(to)],
        cwd=source,
        env={**os.environ, **environment},
        check=True,
    )
    (made,) = to.iterdir()
    return made


def files(folder: str) -> set[str]:
    """What git knows or would add of a folder of this checkout."""
    listed = subprocess.run(
        ["git", "-C", ROOT / folder, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / folder / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripts of an environment with the wheel and what it brings without extras."""
    home = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    for name in brought(declared()):
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(installed.locate_file(top))))
    uv = Path(sys.executable).with_name("uv")
    python = home / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel]
    subprocess.run(install, check=True)
    return home / "bin"


def run(scripts: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of that environment, in a folder of its own."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [scripts / arguments[0], *arguments[1:]],
        cwd=folder,
        env={**kept, "XDG_CACHE_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_holds_the_package_and_all_that_is_shipped(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cbt_ray"}
    for folder in SHIPPED:
        inside = f"cbt_ray/data/{folder}/"
        held = {name.removeprefix(inside) for name in names if name.startswith(inside)}
        assert held == files(folder)
        assert len(held) > 10


def test_the_rehearsal_runs_without_any_extra(scripts: Path, tmp_path: Path) -> None:
    for command in (
        ("init", "my-study"),
        ("check", "my-study/study.yaml"),
        ("study", "my-study/study.yaml"),
        ("report", "my-study/study.yaml"),
    ):
        done = run(scripts, tmp_path, "cbt-ray", *command)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "my-study/runs/my-study/report.html").is_file()


def test_what_an_extra_brings_is_asked_for_by_its_name(scripts: Path, tmp_path: Path) -> None:
    run(scripts, tmp_path, "cbt-ray", "init", "mine", "--example", "demo")
    done = run(scripts, tmp_path, "cbt-ray", "check", "mine/study.yaml")
    assert done.returncode == 2
    assert 'llama_cpp; `pip install "cbt-ray[local]"`' in done.stderr
    assert 'torch; `pip install "cbt-ray[train]"`' in done.stderr
    run(scripts, tmp_path, "cbt-ray", "init", "other")
    joined = ("--set", "engine.address=127.0.0.1:9")
    done = run(scripts, tmp_path, "cbt-ray", "study", "other/study.yaml", *joined)
    assert done.returncode == 2
    assert 'ray; `pip install "cbt-ray[cluster]"`' in done.stderr


def test_an_image_and_an_sdist_know_their_version_without_git(tmp_path: Path) -> None:
    sdist = build(ROOT, tmp_path / "sdist", "sdist", **{PRETENDED: "1.2.3"})
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / "cbt_ray-1.2.3"
    assert build(source, tmp_path / "again").name.startswith("cbt_ray-1.2.3-")

    for folder in ("studies", "k8s"):
        shutil.rmtree(source / folder)
    (source / "PKG-INFO").unlink()
    image = build(source, tmp_path / "image", **{PRETENDED: "4.5.6"})
    assert image.name.startswith("cbt_ray-4.5.6-")
    assert "cbt_ray/data/prompts/en/judge.j2" in zipfile.ZipFile(image).namelist()
