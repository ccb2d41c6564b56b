"""What the machine of the run lacks, in one file that unpacks there: packages for its Python, the
converter, a tokenizer; stripped to what the run loads.

    python -m tests.training.gpu pack FOLDER      # then, on the machine, in the tree: FOLDER/run.sh
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cbt_ray.training.export.gguf import converter
from cbt_ray.training.start.base import open_base
from tests.training.export.memory import EMBEDDED

ROOT = Path(__file__).parents[3]
PYTHON = "3.12"
LIMIT = 64 << 20
"""Bytes of the tree and of what is packed, together."""
PACKED = (
    *("trl", "datasets", "dill", "multiprocess", "bitsandbytes"),
    *("unsloth", "unsloth-zoo", "torchao", "cut-cross-entropy", "msgspec", "hf-transfer"),
    *("tyro", "docstring-parser", "typeguard", "nest-asyncio", "structlog", "diskcache"),
    *("pydantic", "pydantic-core", "annotated-types", "typing-inspection"),
    "typing-extensions",
)
"""From requirements/cuda.txt, with its hashes."""
THERE = frozenset(
    {
        *("accelerate", "aiohttp", "click", "einops", "filelock", "fsspec", "httpx", "jinja2"),
        *("huggingface-hub", "numpy", "packaging", "pandas", "peft", "pillow", "protobuf"),
        *("psutil", "pyarrow", "pytest", "pyyaml", "regex", "requests", "rich", "safetensors"),
        *("scipy", "sentencepiece", "setuptools", "tokenizers", "torch", "torchvision", "tqdm"),
        *("transformers", "triton", "typer", "wheel", "xxhash"),
    }
)
"""What the machine has: torch from 2.11 on for CUDA 13, transformers 5.17, accelerate 1.15."""
LEFT_OUT = {
    "xformers": "built for another torch; Unsloth does without",
    "diffusers": "of pictures; Unsloth asks whether it is there",
}
"""Packages that others name and the run does not load; vLLM is too large by far."""
STRIPPED = (
    *("bitsandbytes/libbitsandbytes_cuda1[12]*", "bitsandbytes/libbitsandbytes_cuda132*"),
    *("bitsandbytes/libbitsandbytes_rocm*", "bitsandbytes/libbitsandbytes_xpu*"),
    *("studio/*", "unsloth_cli/*", "llama_cpp/lib/lib*.so.*.*", "llama_cpp/server/*"),
    *("*/__pycache__/*", "bin/*", "include/*", "lib/*", "test/*", "*.data/*"),
)
"""Other GPUs' libraries, Unsloth's user interface, names of libraries that nobody asks for."""
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 26, 24, 17, 5)]
RUN = """#!/bin/sh
# In the tree, on the machine of the run: run.sh [FILE [OPTION...]]; twelve minutes at most.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
site=$(mktemp -d)
python3 -m zipfile -e "$here/site.zip" "$site"
export PYTHONPATH="$site:$PWD" CBT_RAY_CONVERTER="$site/llama.cpp/convert_hf_to_gguf.py"
out=${1:-gpu.json}
[ $# -eq 0 ] || shift
exec python3 -m tests.training.gpu --base "$site/base" --out "$out" "$@"
"""


def requirements(lock: str) -> list[str]:
    """Lines of the lock with the packages that are packed, and their hashes."""
    blocks: list[str] = re.findall(r"^\S+==.*(?:\n    --hash=\S+.*)+", lock, re.MULTILINE)
    known = {canonicalize_name(block.split("==")[0]): block for block in blocks}
    return [known[canonicalize_name(name)] for name in PACKED]


def download(folder: Path) -> list[Path]:
    """Wheels for that Python, by pip, with the hashes of the lock."""
    asked = folder / "asked.txt"
    asked.write_text("\n".join(requirements((ROOT / "requirements/cuda.txt").read_text())))
    platforms = [word for one in PLATFORMS for word in ("--platform", one)]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON),
            *(*platforms, "--dest", str(folder), "--requirement", str(asked)),
        ],
        check=True,
    )
    return sorted(folder.glob("*.whl"))


def lacking(wheels: list[Path]) -> list[str]:
    """What the packages name and nobody has, on that Python."""
    there = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "extra": ""}
    had = {*PACKED, *THERE, *LEFT_OUT}
    return sorted(
        f"{wheel.name.split('-')[0]}: {asked}"
        for wheel in wheels
        for asked in map(Requirement, _metadata(wheel).get_all("Requires-Dist") or [])
        if asked.marker is None or asked.marker.evaluate(there)
        if canonicalize_name(asked.name) not in had
    )


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        name = next(one for one in opened.namelist() if one.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(opened.read(name).decode())


def contents(wheels: list[Path], folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of all that is packed."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            for name in opened.namelist():
                if kept(name):
                    yield name, opened.read(name)
    for file in distribution("llama_cpp_python").files or []:
        if kept(str(file)) and not str(file).startswith(".."):
            yield str(file), Path(str(file.locate())).read_bytes()
    beside = converter().parent
    for path in sorted(one for one in beside.rglob("*") if one.is_file()):
        name = f"llama.cpp/{path.relative_to(beside)}"
        if kept(name):
            yield name, path.read_bytes()
    tokenizer = open_base(EMBEDDED, folder).folder
    for name in ("config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        yield f"base/{name}", (tokenizer / name).read_bytes()


def kept(name: str) -> bool:
    """Whether the run loads such a file."""
    return not name.endswith("/") and not any(fnmatch(name, pattern) for pattern in STRIPPED)


def tree_bytes() -> int:
    """Of the files of the tree."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in names.split("\0") if name]
    return sum(file.stat().st_size for file in files if file.is_file())


def main(out: Path) -> None:
    """Pack into a folder; ends with 1 where it lacks something or is too large."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        wheels = download(Path(folder))
        with zipfile.ZipFile(out / "site.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as site:
            for name, data in contents(wheels, Path(folder)):
                site.writestr(name, data)
        missing = lacking(wheels)
    (out / "run.sh").write_text(RUN)
    (out / "run.sh").chmod(0o755)
    size, tree = (out / "site.zip").stat().st_size, tree_bytes()
    print(f"{len(wheels)} wheels for Python {PYTHON}: {size / 2**20:.1f} MiB packed,", end=" ")
    print(f"{tree / 2**20:.1f} MiB the tree, {LIMIT / 2**20:.0f} MiB the limit")
    print(f"llama.cpp is this machine's build, for a CPU with: {_instructions()}")
    for one in missing:
        print(f"lacking: {one}")
    if missing or size + tree > LIMIT:
        sys.exit(1)


def _instructions() -> str:
    from cbt_ray.llm.build import builds

    return " or ".join(" ".join(one.needed) or one.name for one in builds())
