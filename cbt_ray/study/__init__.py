"""The study file: one pydantic model that holds everything a study is, and the reader that explains
what is wrong with it.
"""

from __future__ import annotations

from cbt_ray.study.load import load_study
from cbt_ray.study.study import Study

__all__ = ["Study", "load_study"]
