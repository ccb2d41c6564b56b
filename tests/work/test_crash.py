"""A crash told from what Python's fault handler wrote, with threads beside the one that was
struck.
"""

from __future__ import annotations

import signal

import pytest

from cbt_ray.work.crash import told

DECODE = '  File "/x/site-packages/llama_cpp/_internals.py", line 14 in decode\n'
WAIT = '  File "/usr/lib/python3.11/threading.py", line 327 in wait\n'
READ = '  File "/usr/lib/python3.11/ssl.py", line 1 in read\n'


def traces(*threads: str, more: str = "") -> str:
    blocks = [
        thread if "Current" in thread else f"Thread 0x1 (most\n{thread}" for thread in threads
    ]
    return (
        "Fatal Python error: Segmentation fault\n\n" + "\n".join(blocks) + more + "struck in x.so\n"
    )


@pytest.mark.parametrize(
    ("threads", "frame"),
    [
        ((WAIT, f"Current thread 0x2 (most\n{DECODE}", READ), "decode"),
        ((DECODE, WAIT), "decode"),
        ((DECODE, READ, WAIT), None),
        ((WAIT, WAIT), None),
    ],
)
def test_the_frame_is_of_the_thread_that_was_struck(threads: tuple[str], frame: str | None) -> None:
    caller = f" (called from llama_cpp/_internals.py, {frame})" if frame else ""
    assert told(signal.SIGSEGV, traces(*threads)) == f"SIGSEGV in x.so{caller}"


def test_no_frame_is_named_where_python_told_only_of_other_threads() -> None:
    assert told(signal.SIGSEGV, traces(DECODE, WAIT, more="...\n")) == "SIGSEGV in x.so"
