"""Files and texts from outside are read in cbt_ray/reading alone; what else opens a file opens one of our own, with its reason."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "cbt_ray"
READERS = re.compile(r"yaml\.(safe_)?load|\bjson\.loads?\(|\.read_text\(|\.read_bytes\(|(?<![\w.])open\(|\.open\(\"?r")
OWN = {
    "training": "models and what training wrote itself: its own readers, bounded, are tests/training's",
    "reading": "the place",
}
"""Folders."""
REASONS = {
    "analysis/effect/calibration.py": "packaged with cbt-ray",
    "batch/attempt.py": "our own record in the store",
    "cluster/api.py": "the cluster's answer",
    "cluster/overlay.py": "what kustomize printed of our own manifests",
    "commands/preregister.py": "packaged",
    "imports/repository.py": "bounded by itself, names of a clone that was walked",
    "imports/study_file.py": "packaged",
    "llm/gguf_file.py": "GGUF: its own reader; and our own cache",
    "llm/prices.py": "packaged with litellm",
    "report/page.py": "packaged",
    "stages/train.py": "what training wrote itself",
    "store/folder.py": "the store",
    "store/sending.py": "the store",
    "store/store.py": "the store",
    "therapy/validation.py": "packaged",
    "unit.py": "the store",
    "work/declared.py": "the store",
    "work/engine.py": "the kernel",
    "work/usage.py": "the store",
}


def test_nothing_else_reads_what_comes_from_outside() -> None:
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if file.relative_to(PACKAGE).parts[0] not in OWN and READERS.search(file.read_text())
    }
    assert found - set(REASONS) == set()
