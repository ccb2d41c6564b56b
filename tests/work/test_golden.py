"""Keys stay what they were from release to release, unless somebody means to change them.

See golden.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.work.golden import COMMAND, FILE, defaults, demo_keys, made

GOLDEN: dict[str, dict[str, Any]] = json.loads(FILE.read_text())
ON_PURPOSE = f"and rewrite {FILE.name} with:  {COMMAND}"
KEYS = f"""
Keys of studies/demo.yaml are other ones than those in tests/work/{FILE.name}: every study would
make these units, and all that follow from them, anew.
- By accident? Undo it: a field in a key has another name, place or form, or what is no block's
  field came into `determinants` (give it to a block, with a default).
- On purpose, since a stage makes something else now? Raise its VERSION in cbt_ray/work/keys.py,
  {ON_PURPOSE}
- On purpose, since the demo or its prompts say something else? Rewrite the file alone.
Changed: """
DEFAULTS = f"""
Defaults of the study file are other ones than those in tests/work/{FILE.name}. No key holds a
default, so units that were made with the old one would count as made with the new one.
- By accident? Undo it.
- On purpose? Raise the VERSION of each stage that reads the field, in cbt_ray/work/keys.py,
  {ON_PURPOSE}
- A field is new, or gone? No key changes by that: rewrite the file alone.
Changed: """
MADE = f"""
Under the same keys, other units are made by a scripted model than before: stores would hold both.
- By accident? Undo it.
- On purpose? Raise the VERSION of the stage in cbt_ray/work/keys.py, {ON_PURPOSE}
Changed: """
OTHER_KEYS = f"""
The scripted study has other keys than those in tests/work/{FILE.name}; see what is said of the
demo's keys, and rewrite the file with:  {COMMAND}
Changed: """


def differing(part: str, now: dict[str, Any]) -> str:
    """The first names whose values differ from the golden ones, from what to what."""
    then = GOLDEN[part]
    names = [name for name in [*then, *now] if then.get(name, "-") != now.get(name, "-")]
    shown = [
        f"{name} {then.get(name, '-')} -> {now.get(name, '-')}" for name in dict.fromkeys(names)
    ]
    return ", ".join([*shown[:5], *([f"and {len(shown) - 5} more"] if len(shown) > 5 else [])])


def test_the_demos_keys_are_those_of_the_golden_file() -> None:
    found = differing("keys", demo_keys())
    assert not found, KEYS + found


def test_defaults_that_keys_leave_out_are_those_of_the_golden_file() -> None:
    found = differing("defaults", defaults())
    assert not found, DEFAULTS + found


def test_stages_make_under_a_key_what_they_made() -> None:
    now = made()
    same = {key: digest for key, digest in now.items() if key in GOLDEN["made"]}
    other = [key for key, digest in same.items() if GOLDEN["made"][key] != digest]
    assert not other, MADE + ", ".join(other)
    found = differing("made", now)
    assert not found, OTHER_KEYS + found


@pytest.mark.parametrize("stage", ["profiles", "courses", "dataset", "sessions", "ratings"])
def test_every_stage_that_costs_calls_is_in_the_golden_file(stage: str) -> None:
    for part, between in (("keys", " "), ("made", "/")):
        assert any(name.startswith(stage + between) for name in GOLDEN[part]), part
