"""Writes the pictures of report and viewer for the README, from a made-up study: `python -m
tests.report.pictures docs`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cbt_ray.rating.judge import ItemRating
from cbt_ray.report import CostRow, Provenance, ReportData, ReportedSession, StageRow, render
from tests.report import study
from tests.report.browser import DESK, browser, visit, write
from tests.report.sample import sessions_of

WHY = (
    "Stays with the patient's own words (turn 4), and asks rather than tells.",
    "Begins well, and leaves it halfway through the session.",
    "Moves on before the answer has come (turn 8).",
    "Does so twice, and asks whether anything was missed (turn 14).",
)
WORDS = (
    "Severely Deficient",
    "Very Poor",
    "Poor",
    "Unsatisfactory",
    "Below Average",
    "Adequate",
    "Good",
    "Very Good",
    "Excellent",
)
SUMMARY = "They went through the week, looked at one thought in detail and agreed on a task."
VIEWED = "#arm=birch-tuned&session=birch-tuned.ada.r1.s07&turn=4"


def orchard() -> ReportData:
    """600 made-up sessions, as a reader would see them."""
    rows = study.rows()
    return ReportData(
        study="orchard",
        seed=4,
        analysis=study.analysis(),
        description="Three models, tuned and not, with five simulated patients. A made-up study "
        "that shows what a report holds.",
        sessions=[_spoken(session) for session in sessions_of(rows, 24, "")],
        stages=[
            StageRow("sessions", 592, {"too_short": 4}, not_reached=4),
            StageRow("ratings", 1180, {"malformed": 8}),
        ],
        costs=[
            CostRow("sessions", 14_800, 41_300_000, 1_900_000, 31.4, 20_410.0, {"rate_limit": 12})
        ],
        provenance=Provenance(
            {"python": "3.11.2"}, {"judge.j2": "3f9a1c77d2b04e51"}, {"judge": "a made-up judge"}
        ),
    )


def _spoken(session: ReportedSession) -> ReportedSession:
    """With lines in place of the empty turns, and justifications."""
    if session.session is None:
        return session
    turns = tuple(
        replace(turn, text=study.said(n, session.number))
        for n, turn in enumerate(session.session.turns)
    )
    opening = SUMMARY if session.number > 1 else ""
    ratings = [
        replace(rating, items=_justified(rating.items, n))
        for n, rating in enumerate(session.ratings)
    ]
    return replace(
        session,
        session=replace(session.session, turns=turns, opening=opening, summary=SUMMARY),
        ratings=ratings,
    )


def _justified(items: Mapping[str, ItemRating], shift: int) -> dict[str, ItemRating]:
    return {
        name: replace(
            item, word=WORDS[min(int(item.score), 9) - 1], justification=WHY[(shift + n) % 4]
        )
        for n, (name, item) in enumerate(items.items())
        if item.score
    }


def main(folder: Path) -> None:
    """Take both pictures."""
    with TemporaryDirectory() as place, browser() as chrome:
        file = write(render(orchard(), "beside"), Path(place))
        for name, address, height in (("report", "", 1160), ("viewer", VIEWED, 820)):
            with visit(chrome, file, DESK, address, color_scheme="light") as found:
                found.tab.set_viewport_size({"width": DESK, "height": height})
                found.tab.wait_for_selector(".reader h3")
                found.tab.wait_for_timeout(300)
                found.tab.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
