"""Large files stream: 200 MB through both stores in a process whose memory is measured."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from cbt_ray.store.store import sha256_of

pytestmark = pytest.mark.slow

SIZE = 200 << 20
BOUND = 150 << 20
SCRIPT = """
import json, re, sys, time
from pathlib import Path
from cbt_ray.store import open_store
from tests.store.examples import key
def kib(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
url, source, target = sys.argv[1:]
store = open_store(url)
store.check()
base, start = kib("VmRSS"), time.monotonic()
blob = store.put_blob(key(), "big.gguf", Path(source))
sent = time.monotonic()
store.fetch_blob(blob, Path(target))
fetched = time.monotonic()
moved = blob.path + ".moved"
store.move(blob.path, moved)
print(json.dumps({
    "grown": kib("VmHWM") - base, "up_s": sent - start, "down_s": fetched - sent,
    "move_s": time.monotonic() - fetched,
    "sha256": blob.sha256, "moved": store.size(moved), "left": store.size(blob.path)}))
"""


def test_200_mb_go_up_down_and_aside_in_bounded_memory(url: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as stream:
        for number in range(SIZE >> 20):
            stream.write(random.Random(number).randbytes(1 << 20))
    command = [sys.executable, "-c", SCRIPT, url, str(source), str(target)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    print(figures)
    assert figures["grown"] < BOUND
    assert target.stat().st_size == figures["moved"] == SIZE
    assert figures["left"] is None
    assert sha256_of(target) == sha256_of(source) == figures["sha256"]
    source.unlink()
    target.unlink()
