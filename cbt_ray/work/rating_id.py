"""The readable id of a rating: whose it is, of which session, in which view."""

from __future__ import annotations


def rating_id(session: str, judge: str, view: str, replicate: int) -> str:
    """The readable id of a rating; a judge's name has no dot."""
    return f"{session}.{judge}.{view}.j{replicate}"


def parse_rating_id(name: str) -> tuple[str, str, str, int]:
    """Session's id, judge, view, replicate. Raises ValueError where it is no such id."""
    session, judge, view, replicate = name.rsplit(".", 3)
    return session, judge, view, int(replicate.removeprefix("j"))
