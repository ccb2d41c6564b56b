"""A folder of links to a model's files, beside which lie the ones that are its own: nothing large
is copied.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def link_others(source: Path, folder: Path, own: Collection[str]) -> None:
    """Link all files of a model into a folder that is there, but for those that it has of its
    own.
    """
    for file in source.iterdir():
        if file.name not in own:
            (folder / file.name).symlink_to(file.resolve())
