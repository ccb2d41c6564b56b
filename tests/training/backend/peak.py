"""Trains the embedded model for a step or more on windows of one length and prints the forecast of
its memory and the peak.

python -m tests.training.backend.peak BASE WORK RECIPE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import open_backend
from cbt_ray.training.backend.forecast import forecast
from cbt_ray.training.backend.job import Job, MadeStep
from cbt_ray.training.environment import settle
from cbt_ray.training.mask import IGNORED, Window
from cbt_ray.training.start.base import open_base
from tests.training.backend.runs import Kept

LENGTH = 256


def main(base: str, work: Path, settings: str) -> None:
    settle()
    recipe = Recipe.model_validate_json(settings)
    window = Window("p", 1, [5] * LENGTH, [IGNORED] * (LENGTH // 2) + [7] * (LENGTH // 2))
    job = Job(
        recipe, open_base(base, work), [window] * recipe.batch, {"train": [window]}, work / "run", 1
    )
    steps: list[MadeStep] = []
    open_backend("trl").train(job, Kept(work / "kept"), steps.append)
    print(
        json.dumps({"forecast": forecast(job, cuda=False).memory_gib, "peak": steps[-1].memory_gib})
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
