"""Whatever a text is like, what is read of it stands in it."""

from __future__ import annotations

import random

import pytest

from cbt_ray.published.cbt.course import read_course_session
from cbt_ray.published.cbt.simulated import read_simulated

PIECES = (
    *(
        "Patient: ",
        "Therapist: ",
        "Patient:",
        "Therapist:",
        "\n\nPatient: ",
        "\n\nTherapist: ",
        "\nTherapist: ",
        "\n",
        "\n\n",
        "\n\n\n",
        " ",
        "\t",
    ),
    *(
        "Session Number: 4\n\n",
        "Hi, I'm Ada. This is my 4 CBT session. Last time we talked about: ",
        "Session Summary:\n\n",
        "\n\n\nSession Summary:\n\n",
    ),
    *(
        "\n\nTermination Details:\nReason: Natural Session End\nDetails: Detected\n",
        "****Session Terminated: Turn Limit Exceeded - Turn count: 51/50****\n",
    ),
    *(
        "Hi, I'm back. Here is the summary you provided me at the end of our last session:\n\n",
        "Here is part 2 of the session:\n",
        "\n\nHere's part 3\n",
    ),
    *(
        "some words",
        "a summary",
        "- a list\n- of things",
        "SESSION SUMMARY: ",
        "session summary:",
        "\u00e9\u2013\u2028",
        "\x85",
        "\x0b",
        "Reason: x",
    ),
)


@pytest.mark.parametrize("seed", range(40))
def test_turns_of_any_text_stand_in_it_in_order_and_share_no_word(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        text = "".join(rng.choices(PIECES, k=rng.randrange(1, 25)))
        passed = [
            "a summary",
            "Session Summary:\n\na summary",
            "some words\n\nTherapist: some words",
        ]
        for read in (read_simulated, read_course_session):
            written, place = read("f", text, passed).written, 0
            assert written.opening in text
            assert written.summary in text
            for turn in written.turns:
                assert turn.text == turn.text.strip() != ""
                found = text.find(turn.text, place)
                assert found >= place, (text, turn)
                place = found + len(turn.text)
