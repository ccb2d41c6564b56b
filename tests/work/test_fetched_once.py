"""A GGUF in a store elsewhere is fetched once a machine, however many worker processes need it at
once.
"""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.store import Blob, open_store, s3
from cbt_ray.store.store import sha256_of
from cbt_ray.study import load_study
from cbt_ray.unit import Key, Stage
from cbt_ray.work.workshop import Workshop
from tests.s3_server import S3Servers
from tests.store.cutting_proxy import cutting_proxy
from tests.study.example import example_study, write_study

SIZE = 3_000_000
PIECE = 500_000
KEY = Key("small", Stage.MODEL, "smollm2-tuned", "0" * 16)


def fetch(study_file: Path, url: str, blob: Blob, answers: multiprocessing.Queue[str]) -> None:
    """What one worker process does."""
    s3.PIECE = PIECE
    study = load_study(study_file)
    shop = Workshop(study, open_store(url), gate_of(Meter(study.endpoints, study.budget)))
    file = shop.file(blob, KEY)
    answers.put(f"{file} {sha256_of(file)}")


@pytest.mark.s3
def test_four_processes_fetch_it_once(
    s3_servers: S3Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBT_RAY_CACHE", str(tmp_path / "cache"))
    endpoint = urlsplit(s3_servers["seaweedfs"].endpoint)
    assert endpoint.hostname
    assert endpoint.port
    url = s3_servers.url("seaweedfs", monkeypatch)
    (tmp_path / "source").write_bytes(random.Random(3).randbytes(SIZE))
    blob = open_store(url).put_blob(KEY, "model.gguf", tmp_path / "source")
    study = write_study(tmp_path, example_study())
    fork = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = fork.Queue()
    with cutting_proxy(endpoint.hostname, endpoint.port) as wire:
        through = f"{url.partition('?')[0]}?endpoint=http://127.0.0.1:{wire.port}"
        workers = [
            fork.Process(target=fetch, args=(study, through, blob, answers)) for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        got = Counter(answers.get(timeout=1200) for _ in workers)
        for worker in workers:
            worker.join()
        asked = sorted(wire.ranges)
    assert len(got) == 1, "all have the same file"
    assert next(iter(got)).endswith(blob.sha256)
    assert asked == [(at, at + PIECE - 1) for at in range(0, SIZE, PIECE)], "each byte travels once"
