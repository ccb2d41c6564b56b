"""What was read, in the forms that `import` takes from anybody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cbt_ray.published.act.judged import FORMS, Judged
from cbt_ray.published.act.profile import name_of
from cbt_ray.published.act.publication import Published, Therapist

JUDGE, VIEW = "published", "plain"
Line = dict[str, Any]


def session_lines(published: Published, commit: str | None) -> Iterator[Line]:
    """A line a session."""
    for one in published.therapists:
        for number, file in one.sessions.items():
            session = file.session
            yield {
                "arm": one.variant.arm,
                "patient": name_of(number),
                "turns": [turn.to_json() for turn in session.turns],
                "stop": session.stop,
                "details": session.details,
                "factors": dict(one.variant.factors),
                "source": file.source.origin(commit),
                "remarks": [remark.reason for remark in session.remarks],
            }


def rating_rows(published: Published) -> Iterator[dict[str, str]]:
    """A row a rating of a session whose transcript is here."""
    for one in published.therapists:
        yield from (_rating(one, number, one.ratings[number]) for number in one.rated)


def _rating(one: Therapist, number: int, judged: Judged) -> dict[str, str]:
    items = [form.item(place) for form in FORMS for place in range(1, form.items + 1)]
    return {
        "arm": one.variant.arm,
        "patient": name_of(number),
        "session": "1",
        "judge": JUDGE,
        "kind": "model",
        "view": VIEW,
        "source": f"{judged.file}:{judged.line}",
        **{name: str(judged.scores.get(name, "")) for name in items},
        "reasons": json.dumps(dict(judged.reasons)) if judged.reasons else "",
    }
