"""What comes with cbt-ray beside its code: prompts, studies, manifests of a cluster."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped(folder: str) -> Path:
    """A folder that comes with cbt-ray: in the package's data where a wheel was installed, and in a
    checkout at its top.
    """
    inside = PACKAGE / "data" / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder
