"""What the public code left of the summary of the session before."""

import pytest

from cbt_ray.published.cbt.lines import opening_left

LED = "Session Number: 2\n\nPatient: Hi. Last time we talked about: "


@pytest.mark.parametrize(
    ("text", "opening", "left"),
    [
        (f"{LED}Summary:\n\n- sleep\n\nTherapist: Hello.\n", "Summary:\n\n- sleep", True),
        (f"{LED}Summary:\n\nSleep.\n\nTherapist: Hello.\n", "Sleep.", True),
        (f"{LED}it failed\n\nTherapist: Hello.\n", "it failed", False),
        ("Session Number: 1\n\nPatient: Hi.\n\nTherapist: Hello.\n", "", False),
    ],
    ids=["many lines", "one line below", "one line", "first session"],
)
def test_the_first_line_alone_was_taken_out(text: str, opening: str, left: bool) -> None:
    assert opening_left(text, opening) is left
