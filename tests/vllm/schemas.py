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

SCALES = ("ctrs", "ctrs-0-6", "miti")


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
                break  # a script writes no course by turns, but it is asked
        bench.close()
    return found


def every() -> Iterator[tuple[str, str]]:
    """Of all forms of prose, languages, scales, probes, and ways to write a course."""
    found: dict[str, str] = {}
    for prose in ("free", "letters"):
        role = {"endpoint": "script", "prose": prose}
        roles = dict.fromkeys(("generator", "patient", "summariser", "therapist"), role)
        for language in ("en", "de"):
            found |= asked(roles=roles, language=language, imported=COURSES)
        probes = {"which": ["empty", "halo", "guess_plain"], "sessions": 1}
        raters = {
            name: {**role, "scales": [name], **({"probes": probes} if name == "ctrs" else {})}
            for name in SCALES
        }
        courses = {"sessions": 2, "pairs": 2, "turn_chars": [20, 120], "write": "turns"}
        turns = {"courses": courses, "roles": {**roles, "critic": role}, "imported": COURSES}
        found |= asked(**turns) | asked(roles=roles, raters=raters, imported=COURSES)
    yield from found.items()


if __name__ == "__main__":
    for pair in every():
        print(json.dumps(pair, ensure_ascii=False))
