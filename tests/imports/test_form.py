"""Whatever a text is like, what was read of it writes it again, byte for byte."""

from __future__ import annotations

import random

import pytest

from cbt_ray.errors import InputError
from cbt_ray.imports.course import read_course_session
from cbt_ray.imports.form import Written
from cbt_ray.imports.simulated import read_simulated
from cbt_ray.therapy.session import Speaker, Turn

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
def test_any_text_is_written_again(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        text = "".join(rng.choices(PIECES, k=rng.randrange(1, 25)))
        passed = [
            "a summary",
            "Session Summary:\n\na summary",
            "some words\n\nTherapist: some words",
        ]
        simulated, course = (
            read_simulated("f", text, passed),
            read_course_session("f", text, passed),
        )
        assert simulated.written.text() == text
        assert course.written.text() == text
        for turn in (*simulated.written.turns, *course.written.turns):
            assert turn.text == turn.text.strip() != ""


def test_a_form_holds_no_words_of_the_session() -> None:
    talk = "Session Number: 1\n\nPatient: my words\n\nTherapist: its words\n\n\n"
    text = (
        f"{talk}Termination Details:\nReason: r\nDetails: d\n\n\nSession Summary:\n\nthe summary\n"
    )
    written = read_simulated("f", text).written
    assert written.form == (
        ["text", "Session Number: 1\n\n"],
        ["turns", 0, 1],
        ["text", "\n\n\n"],
        ["stopped"],
        ["text", "\n\n\nSession Summary:\n\n"],
        ["summary"],
        ["text", "\n"],
    )


@pytest.mark.parametrize(
    "form", [(["turns"],), (["said", 7],), (["stopped"],), (["nonsense"],), ([],)]
)
def test_a_form_that_does_not_fit_is_refused(form: tuple[list[str | int], ...]) -> None:
    with pytest.raises(InputError, match="fits"):
        Written((Turn(Speaker.PATIENT, "words"),), form).text()
