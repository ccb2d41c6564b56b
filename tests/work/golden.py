"""The golden file of keys: the demo's keys, the defaults that they leave out, and what the stages
make under a scripted model.

Rewrite it, on purpose:    python -m tests.work.golden
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, get_args

from cbt_ray.stages.dataset import make_dataset
from cbt_ray.stages.generate import generate
from cbt_ray.stages.rate import rate_sessions
from cbt_ray.stages.simulate import simulate
from cbt_ray.study import Study, load_study
from cbt_ray.study.block import Block
from cbt_ray.work.bench import Bench
from cbt_ray.work.determinants import NOTHING, defaults_of
from cbt_ray.work.keys import Keys
from cbt_ray.work.progress import Silent
from cbt_ray.work.workshop import prompts_of
from tests.stages import scripted
from tests.study.example import COURSES

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("golden.json")
COMMAND = "python -m tests.work.golden"
NEVER_IN_KEYS = {"store", "prompts", "minimum", "budget", "engine", "licences", "imported"}
"""Fields of the study that are in no key."""


def demo_keys() -> dict[str, str]:
    """The demo's keys by stage and id; a constant stands for code that follows its digest."""
    study = load_study(ROOT / "studies" / "demo.yaml")
    found = Keys(study, prompts_of(study), lambda root: root).all()
    return {f"{key.stage} {key.id}": key.h16 for keys in found.values() for key in keys}


def defaults() -> dict[str, Any]:
    """The default of every field that may be in a key: `Block.field`."""
    return {
        f"{kind.__name__}.{name}": value
        for kind in sorted(_blocks(Study), key=lambda kind: kind.__name__)
        for name, value in defaults_of(kind).items()
        if value is not NOTHING and not (kind is Study and name in NEVER_IN_KEYS)
    }


def _blocks(kind: Any, seen: frozenset[Any] = frozenset()) -> set[type[Block]]:
    """A block and all blocks in its fields."""
    if isinstance(kind, type) and issubclass(kind, Block):
        fields = kind.model_fields.items()
        inside = [info.annotation for name, info in fields if name not in NEVER_IN_KEYS]
        return {kind}.union(*(_blocks(one, seen | {kind}) for one in inside if one not in seen))
    return set().union(*(_blocks(one, seen) for one in get_args(kind)))


def made() -> dict[str, str]:
    """What the stages make under a scripted model: the digest of each unit by its key.

    Without analysis and report, whose keys hold their code, and without training.
    """
    with tempfile.TemporaryDirectory() as folder:
        run_scripted(Path(folder))
        units = scripted.units(Path(folder) / "store")
    return {path.partition("/")[2]: unit.digest for path, unit in sorted(units.items())}


def run_scripted(folder: Path) -> Path:
    """A study whose stages ran as far as the ratings, each unit done; answers its file."""
    document = scripted.study_document(folder / "store")
    document["patients"]["training"]["count"] = 2
    document["raters"]["judge"]["probes"] = {"which": ["empty", "halo"], "sessions": 1}
    document["imported"] = COURSES
    file = scripted.write_study(folder, document)
    bench = Bench(load_study(file), Silent(), inline=True)
    for carry_out in (generate, make_dataset, simulate, rate_sessions):
        carry_out(bench)
    bench.close()
    return file


def golden() -> dict[str, Any]:
    """All that is pinned, as it is now."""
    return {"keys": demo_keys(), "defaults": defaults(), "made": made()}


def text_of(value: Any, levels: int) -> str:
    """JSON with a line for each name, lists within it."""
    if not isinstance(value, dict) or not levels:
        return json.dumps(value, ensure_ascii=False)
    pad = " " * (3 - levels)
    lines = (f"{pad}{json.dumps(name)}: {text_of(one, levels - 1)}" for name, one in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{pad[1:]}}}"


if __name__ == "__main__":
    FILE.write_text(text_of(golden(), 2) + "\n")
