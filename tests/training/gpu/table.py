"""What a run found: its conclusions, and the table of docs/training.md that is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
FILE, DOCUMENT = ROOT / "docs" / "gpu.json", ROOT / "docs" / "training.md"
BEGIN, END = "<!-- tests.training.gpu table -->", "<!-- end of the table -->"
NOTHING = f"{BEGIN}\nNothing of it was measured on a GPU.\n{END}"
Found = dict[str, Any]
GOALS = {"unsloth_over_stock": 0.95, "peak_gib": 24.0}
"""Unsloth's own trainer with packing is no faster than this share; 7B at 8k fits this GPU."""


def conclusions(found: dict[str, Found]) -> Found:
    """Ours over stock for each backend, how far the losses of both backends and both layouts are
    apart at most, and whether the goals are reached.
    """
    said: Found = {}
    for backend in ("trl", "unsloth"):
        speeds = [
            found.get(name, {}).get("supervised_per_second")
            for name in (backend, f"stock-{backend}")
        ]
        if all(speeds):
            said[f"{backend}_over_stock"] = round(speeds[0] / speeds[1], 3)
    for one, other in (
        *(("trl", "unsloth"), ("trl-orpo", "unsloth-orpo")),
        *(("trl", "trl-padded"), ("unsloth", "unsloth-padded")),
    ):
        if all(found.get(name, {}).get("losses") for name in (one, other)):
            pairs = zip(found[one]["losses"], found[other]["losses"], strict=False)
            said[f"losses_apart:{one}:{other}"] = max(abs(mine - its) for mine, its in pairs)
    if "unsloth_over_stock" in said:
        said["as_fast"] = said["unsloth_over_stock"] >= GOALS["unsloth_over_stock"]
    peaks = [
        part["peak_gib"]
        for name, part in found.items()
        if name in ("trl", "unsloth") and "peak_gib" in part
    ]
    if peaks:
        said["fits_24_gib"] = max(peaks) <= GOALS["peak_gib"]
    return said


def table(run: Found) -> Iterator[str]:
    """Lines of Markdown; raises ValueError for a rehearsal, which is no measurement."""
    machine, size = run["machine"], run["size"]
    if size["small"] or not machine["gpu"]:
        raise ValueError("expected a run on a GPU in the large shape, found a rehearsal")
    yield (
        f"Measured on {machine['gpu']} ({machine['device_gib']:.0f} GiB): "
        f"{size['parameters'] / 1e9:.1f} billion random weights, windows of up to "
        f"{size['length']:,} tokens, in {run['seconds'] / 60:.1f} minutes."
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield f"Versions: {versions}.\n"
    yield "| part | supervised tokens/s | tokens/s | TFLOP/s | peak GiB | first loss | last loss |"
    yield "|---|---|---|---|---|---|---|"
    for name, part in run["parts"].items():
        if "losses" in part:
            yield _row(name, part)
    yield ""
    for name, part in run["parts"].items():
        if "losses" not in part and name != "model":
            yield f"- {name}: `{json.dumps(_short(part))}`"
    for name, why in run["left_out"].items():
        yield f"- {name}: not measured, {why}."
    for name, value in run["conclusions"].items():
        shown = f"{value:.3g}" if isinstance(value, float) else json.dumps(value)
        yield f"- `{name}`: {shown}"


def _row(name: str, part: Found) -> str:
    numbers = ("supervised_per_second", "tokens_per_second", "tflops", "peak_gib")
    shown = [f"{part[one]:,}" if one in part else "-" for one in numbers]
    losses = part["losses"]
    also = " (unfinished)" if "unfinished" in part else ""
    return f"| {name}{also} | {' | '.join(shown)} | {losses[0]:.4f} | {losses[-1]:.4f} |"


def _short(part: Found) -> Found:
    return {name: value for name, value in part.items() if name not in ("measured", "torch")}


def rewritten(text: str, run: Found | None) -> str:
    """The document with the table of a run, or with a word that there is none."""
    before, behind = text.split(BEGIN)[0], text.split(END)[1]
    lines = NOTHING if run is None else "\n".join([BEGIN, *table(run), END])
    return before + lines + behind


def main() -> None:
    """Write it."""
    run = json.loads(FILE.read_text()) if FILE.exists() else None
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(), run))
