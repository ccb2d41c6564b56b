"""What a test needs that a machine may lack: it skips by name, and REQUIRE=a,b turns those skips
into failures.
"""

import os

import pytest


def needs(what: str, present: bool) -> None:
    """Skip the test where `what` is absent; fail instead where REQUIRE names it."""
    if present:
        return
    if what in os.environ.get("REQUIRE", "").split(","):
        pytest.fail(f"needs {what}, which REQUIRE names")
    pytest.skip(f"needs {what}")
