"""How llama.cpp is compiled, and how a build is kept: requirements/llama.sh with a pretended index
and compiler.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.needs import needs

pytestmark = pytest.mark.slow

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
LOCK = "other==1\nllama-cpp-python==0.3.36 \\\n    --hash=sha256:{hash}\n"
TOOLS = {
    "python": """#!/bin/bash
[ "$2" = pip ] || exec {python} "$@"
mkdir -p "$TOOLS"/s/vendor/llama.cpp/{{conversion,gguf-py}}
echo converter >"$TOOLS"/s/vendor/llama.cpp/convert_hf_to_gguf.py
tar -czf "${{@: -1}}"/llama_cpp_python-0.3.36.tar.gz -C "$TOOLS" s
""",
    "uv": """#!/bin/bash
echo "$CMAKE_ARGS" >>"$TOOLS"/built
[ ! -e "$TOOLS"/breaks ] || exit 1
echo "wheel $(wc -l <"$TOOLS"/built)" >"$5"/llama_cpp_python-0.3.36-py3-none-any.whl
""",
    "cc": "#!/bin/bash\necho cc ${{VERSION:-12}}\n",
    "c++": "#!/bin/bash\necho c++ 12\n",
}


class Machine:
    """A folder with what llama.sh calls, a cache, and the clones that it is called in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache" / "llama.cpp"
        for name, text in TOOLS.items():
            path = folder / "tools" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.format(python=sys.executable))
            path.chmod(0o755)

    def start(self, clone: str, **environment: str) -> subprocess.Popen[str]:
        lock = self.folder / "lock.txt"
        lock.write_text(LOCK.format(hash=environment.pop("HASH", "aa")))
        tools = str(self.folder / "tools")
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CC", "CXX", "CMAKE_ARGS", "LLAMA")
        }
        cache = str(self.folder / "cache")
        path = f"{tools}:{os.environ['PATH']}"
        known = {**kept, "PATH": path, "TOOLS": tools, "CBT_RAY_CACHE": cache, **environment}
        command = [REQUIREMENTS / "llama.sh", lock, self.folder / clone]
        return subprocess.Popen(
            command, env=known, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def set_up(self, clone: str, **environment: str) -> str:
        process = self.start(clone, **environment)
        said, _ = process.communicate()
        assert process.returncode == 0, said
        return said

    def wheel(self, clone: str) -> str:
        (wheel,) = (self.folder / clone).glob("*.whl")
        assert (self.folder / clone / "convert_hf_to_gguf.py").read_text() == "converter\n"
        assert (self.folder / clone / "gguf-py").is_dir()
        return wheel.read_text()

    @property
    def built(self) -> list[str]:
        file = self.folder / "tools" / "built"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def kept(self) -> list[Path]:
        return sorted(self.cache.iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_second_clone_takes_the_build_of_the_first(machine: Machine) -> None:
    machine.set_up("one")
    assert "taken from" in machine.set_up("two")
    assert machine.wheel("one") == machine.wheel("two") == "wheel 1\n"
    assert len(machine.built) == len(machine.kept) == 1
    assert "nothing to do" in machine.set_up("two")


@pytest.mark.parametrize(
    "change",
    [
        {"HASH": "bb"},
        {"LLAMA": "portable"},
        {"VERSION": "13"},
        {"CXXFLAGS": "-O2"},
        {"CMAKE_ARGS": "-DGGML_LTO=ON"},
    ],
)
def test_a_build_of_another_kind_is_none_of_it(machine: Machine, change: Mapping[str, str]) -> None:
    machine.set_up("one")
    assert "compiling" in machine.set_up("two", **change)
    machine.set_up("three", **change)
    assert (machine.wheel("one"), machine.wheel("two"), machine.wheel("three")) == (
        "wheel 1\n",
        "wheel 2\n",
        "wheel 2\n",
    )
    assert "taken from" in machine.set_up("two"), "and a clone goes back to what it was"
    assert machine.wheel("two") == "wheel 1\n"


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("flags\t\t: fpu avx2", True),
        ("Features\t: fp asimd", True),
        ("CPU part\t: 0xd0c", True),
        ("cpu MHz\t\t: 2445.4", False),
        ("bogomips\t: 4890.8", False),
    ],
)
def test_one_cpu_s_build_is_not_another_s(line: str, counts: bool) -> None:
    (names,) = re.findall(r"local names='(.*)'", (REQUIREMENTS / "llama.sh").read_text())
    assert (re.match(rf"({names})\s*:", line) is not None) is counts


def test_a_damaged_build_is_noticed_and_made_anew(machine: Machine) -> None:
    machine.set_up("one")
    (file,) = machine.kept
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    assert "damaged" in machine.set_up("two")
    assert machine.wheel("two") == "wheel 2\n"
    machine.set_up("three")
    assert machine.wheel("three") == "wheel 2\n"


def test_two_at_once_do_not_collide(machine: Machine) -> None:
    both = [machine.start(name) for name in ("one", "two")]
    for process in both:
        said, _ = process.communicate()
        assert process.returncode == 0, said
    assert machine.wheel("one").startswith("wheel")
    assert machine.wheel("two").startswith("wheel")
    assert "taken from" in machine.set_up("three")
    assert not [file for file in machine.kept if file.suffix != ".tar"]


def test_the_cache_holds_three_builds(machine: Machine) -> None:
    for number in range(5):
        machine.set_up(f"clone{number}", VERSION=str(number))
        for age, file in enumerate(
            sorted(machine.kept, key=lambda file: file.stat().st_mtime, reverse=True)
        ):
            os.utime(file, (file.stat().st_atime, 1e9 - 10 * (age + 1)))
    assert len(machine.kept) == 3
    assert "taken from" in machine.set_up("again", VERSION="4")
    assert "compiling" in machine.set_up("first", VERSION="0")


def test_what_cannot_be_kept_is_built_all_the_same(machine: Machine) -> None:
    machine.cache.parent.write_text("a file where the folder should be")
    assert "not kept" in machine.set_up("one")
    assert machine.wheel("one") == "wheel 1\n"


def test_a_build_that_fails_leaves_the_last_one(machine: Machine) -> None:
    machine.set_up("one")
    (machine.folder / "tools" / "breaks").touch()
    process = machine.start("one", VERSION="13")
    process.communicate()
    assert process.returncode == 1
    assert machine.wheel("one") == "wheel 1\n"
    assert not list((machine.folder / "one").glob(".work*"))
    assert len(machine.kept) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"LLAMA": "fast"}, "LLAMA=fast"), ({"CXX": "no-such-compiler"}, "no-such-compiler")],
)
def test_what_is_missing_is_said_at_once(
    machine: Machine, wrong: dict[str, str], said: str
) -> None:
    process = machine.start("one", **wrong)
    output, _ = process.communicate()
    assert process.returncode == 2
    assert said in output
    assert "expected" in output


def test_flags_are_said_in_one_file() -> None:
    root = REQUIREMENTS.parent
    places = [
        *REQUIREMENTS.glob("*.sh"),
        *root.glob("images/*/Dockerfile"),
        *root.glob("images/*.sh"),
        root / "Makefile",
    ]
    for place in places:
        assert not re.search(r"GGML_|-march|-fno-|LLAMA_BUILD", place.read_text()), place


TILES = """
#include <immintrin.h>
struct alignas(64) Tiles {
    unsigned char palette, start, none[14]; unsigned short columns[16]; unsigned char rows[16];
};
void load(int rows) {
    Tiles tiles = {};
    tiles.palette = 1;
    tiles.columns[0] = 64;
    tiles.rows[0] = rows;
    _tile_loadconfig(&tiles);
}
"""


def tiles_stored(flags: list[str], folder: Path) -> bool:
    """Whether the number of rows, the function's one argument, reaches the configuration that is
    loaded.
    """
    (folder / "tiles.cpp").write_text(TILES)
    command = ["g++", "-O3", "-march=sapphirerapids", *flags, "-S", "-o", "-", folder / "tiles.cpp"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before = text[: text.index("ldtilecfg")]
    return re.search(r"%(dil|edi|al)\b", before) is not None


def test_the_tile_configuration_is_stored_whole(tmp_path: Path) -> None:
    needs("gcc", shutil.which("g++") is not None and os.uname().machine == "x86_64")
    flags = re.findall(
        r"COMPILE_LANGUAGE:CXX>:(-[\w-]+)>", (REQUIREMENTS / "llama.cmake").read_text()
    )
    assert flags
    assert tiles_stored(flags, tmp_path)
