"""A crash told from what Python's fault handler wrote, with threads beside the one that was
struck.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from cbt_ray.work.crash import told

DECODE = '  File "/x/site-packages/llama_cpp/_internals.py", line 14 in decode\n'
WAIT = '  File "/usr/lib/python3.11/threading.py", line 327 in wait\n'
READ = '  File "/usr/lib/python3.11/ssl.py", line 1 in read\n'


CRASH = """
import ctypes, sys, threading
from cbt_ray.work import crash
crash.watch(2)
def strike():
    ctypes.CDLL("libm.so.6").frexp(ctypes.c_double(1.0), None)
threading.Thread(target=threading.Event().wait, daemon=True).start()
strike() if sys.argv[1] == "main" else threading.Thread(target=strike).start()
"""


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


@pytest.mark.parametrize("thread", ["main", "another"])
def test_frames_of_other_threads_are_read_under_the_lock_of_python(thread: str) -> None:
    struck = subprocess.run(
        [sys.executable, "-c", CRASH, thread], capture_output=True, text=True, check=False
    )
    assert struck.returncode == -signal.SIGSEGV
    before, _, after = struck.stderr.partition("struck in libm.so.6\n")
    assert "in strike" in before
    assert "Thread 0x" not in before  # one that runs on while it is read would crash the reader
    assert "in wait" in after
    assert told(signal.SIGSEGV, struck.stderr) == (
        "SIGSEGV in libm.so.6 (called from <string>, strike)"
    )
