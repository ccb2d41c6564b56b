"""Files from outside are read in cbt_ray/reading alone.

What else opens a file opens one of our own, with its reason.
"""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "cbt_ray"
READERS = re.compile(
    r"yaml\.(safe_)?load|\bjson\.loads?\(|[^f]\.read_text\(|\.read_bytes\(|(?:^|(?<!def)[ "
    r"(=])open\(|\.open\(\"r",
    re.M,
)
OWN = {"reading", "training"}
"""The place itself; models, whose formats have readers of their own."""
REASONS = {
    "analysis/effect/calibration.py": "packaged with cbt-ray",
    "batch/attempt.py": "our own record in the store",
    "cluster/api.py": "the cluster's answer",
    "cluster/overlay.py": "what kustomize printed of our own manifests",
    "commands/preregister.py": "packaged with cbt-ray",
    "gpu.py": "the kernel",
    "llm/build.py": "what set-up wrote, and the kernel",
    "llm/gguf_file.py": "a model, and our own cache of digests",
    "llm/prices.py": "packaged with litellm",
    "report/page.py": "packaged with cbt-ray",
    "store/folder.py": "the store",
    "store/s3.py": "the store",
    "store/store.py": "the store",
    "therapy/validation.py": "packaged with cbt-ray",
    "unit.py": "the store",
    "work/code.py": "the analysis' own code",
    "work/declared.py": "the store",
    "work/engine.py": "the kernel",
    "work/usage.py": "the store",
    "work/worker.py": "what its child sent",
    "analysis/schema.py": "our own docs, for a maintainer",
    "published/study_text.py": "packaged with cbt-ray",
}


def test_nothing_else_reads_what_comes_from_outside() -> None:
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if file.relative_to(PACKAGE).parts[0] not in OWN and READERS.search(file.read_text())
    }
    assert found == set(REASONS)
    assert READERS.search("x = path.read_text()")
