"""cbt-ray: containerized batch jobs that run an LLM therapy study end to end.

For research on models, not for clinical use.

In Python, `cbt_ray.open("study.yaml")` gives what a study has in its store as pandas frames, and
`cbt_ray.analyse(frame, "cbt")` the statistics on any table of ratings: docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbt_ray.opened import analyse
    from cbt_ray.opened import open_study as open  # noqa: A004  said with its module

__all__ = ["analyse", "open"]


def __getattr__(name: str) -> Any:
    """Import what a name means when it is first used: the command line needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cbt_ray import opened

    return {"analyse": opened.analyse, "open": opened.open_study}[name]
