"""The analysis as a JSON schema: which keys it has, and what each means."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from cbt_ray.analysis.analyse import Analysis


@cache
def analysis_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) that analysis.json follows."""
    return TypeAdapter(Analysis).json_schema(mode="serialization")
