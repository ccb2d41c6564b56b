"""Prices from the list that comes with litellm, read as a file: importing litellm takes seconds,
and `plan` has one.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_FILE = "model_prices_and_context_window_backup.json"
_MILLION = 1_000_000


def price(model: str) -> tuple[float, float] | None:
    """Dollars for a million prompt and a million reply tokens of a litellm model name.

    None where the list has no price.
    """
    known = _list()
    entry = known.get(model) or known.get(model.partition("/")[2]) or {}
    prompt, reply = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if prompt is None or reply is None:
        return None
    return round(prompt * _MILLION, 6), round(reply * _MILLION, 6)


@cache
def _list() -> dict[str, dict[str, Any]]:
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    try:
        known: dict[str, dict[str, Any]] = json.loads(
            Path(spec.origin).with_name(_FILE).read_bytes()
        )
    except (OSError, ValueError):
        return {}
    return known
