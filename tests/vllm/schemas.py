"""Every schema that a study asks with, each with a text that follows it, as JSON lines:

python -m tests.vllm.schemas
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from cbt_ray.errors import CbtRayError
from cbt_ray.llm.request import Reply, Request
from cbt_ray.llm.scripted import ScriptedModel
from cbt_ray.stages.dataset import make_dataset
from cbt_ray.stages.generate import generate
from cbt_ray.stages.rate import rate_sessions
from cbt_ray.stages.simulate import simulate
from cbt_ray.study import load_study
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages import scripted
from tests.study.example import COURSES

SCALES = ("ctrs", "wai-sr", "miti", "empathy")


def asked(**changes: Any) -> dict[str, str]:
    """The schemas of a scripted study, each with an answer."""
    found: dict[str, str] = {}
    complete = ScriptedModel.complete

    def noted(self: ScriptedModel, request: Request) -> Reply:
        reply = complete(self, request)
        if request.schema is not None:
            found.setdefault(json.dumps(request.schema, ensure_ascii=False), reply.text)
        return reply

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(ScriptedModel, "complete", noted),
    ):
        document = scripted.study_document(Path(folder) / "store", **changes)
        bench = Bench(
            load_study(scripted.write_study(Path(folder), document)), Silent(), inline=True
        )
        for stage in (generate, make_dataset, simulate, rate_sessions):
            try:
                stage(bench)
            except CbtRayError:
                break  # of a language that the script does not speak, the first stages are asked
        bench.close()
    return found


def every() -> Iterator[tuple[str, str]]:
    """Of all forms of prose and languages."""
    found: dict[str, str] = {}
    for prose in ("free", "letters"):
        for language in ("en", "de"):
            role = {"endpoint": "script", "prose": prose}
            roles = dict.fromkeys(("generator", "patient", "summariser", "therapist"), role)
            judge = {**role, "probes": {"which": ["empty", "halo"], "sessions": 1}}
            changes = {"roles": roles, "raters": {"judge": judge}, "language": language}
            found |= asked(**changes, imported=COURSES)
    yield from found.items()


if __name__ == "__main__":
    for pair in every():
        print(json.dumps(pair, ensure_ascii=False))
