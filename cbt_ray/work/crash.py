"""A crash: how a process says by which signal it dies and in which library, and how that is read.

`watch` runs in the process that may die. Python's own fault handler comes first: it writes the
signal and the frames of the thread that was struck, allocates nothing, and raises the signal again.
What struck by itself strikes once more at the same instruction, and then the handler here looks up
which library that instruction is in, and writes the frames of all threads: it holds Python's lock,
and frames that are read while their thread runs on crash the reader. That one is Python and may
hang in a process whose memory is spoilt, so whoever reads gives it `GRACE_S` and then ends the
process.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import platform
import re
import signal
from pathlib import Path
from typing import Any

GRACE_S = 3.0
"""Seconds that a process which was struck has to end in."""
STRUCK = b"Fatal Python error: "
"""What Python's fault handler begins with."""
SIGNALS = {
    "Segmentation fault": signal.SIGSEGV,
    "Illegal instruction": signal.SIGILL,
    "Bus error": signal.SIGBUS,
    "Aborted": signal.SIGABRT,
    "Floating point exception": signal.SIGFPE,
}
"""The signals of a crash, by the names that Python's fault handler gives them."""
_AT_INSTRUCTION = (signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE)
_COUNTER = {"x86_64": 168, "aarch64": 440}
"""Bytes from the start of Linux's ucontext_t to the program counter."""
_STACK = 256 << 10
_ONSTACK, _SIGINFO, _NODEFER = 0x08000000, 0x4, 0x40000000
_IN = "struck in "
_SAID = re.compile(
    r"^(.*ASSERT.*|terminate called.*(?:\n +what\(\):.*)?|.*corruption.*|free\(\).*|malloc.*)$",
    re.MULTILINE,
)
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)

_kept: list[Any] = []  # what C code points at for as long as the process lives


class _Action(ctypes.Structure):
    """Glibc's struct sigaction."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Stack(ctypes.Structure):
    """Glibc's stack_t."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def watch(descriptor: int) -> None:
    """Have a fatal signal leave its traces in an open file.

    The library is among them on Linux, x86-64 and arm64.
    """
    offset = _COUNTER.get(platform.machine()) if platform.system() == "Linux" else None
    if offset is not None:
        _look_up(descriptor, offset)
    faulthandler.enable(descriptor, all_threads=False)
    if offset is not None:
        # Python's is too small for a handler in Python where registers are wide (AVX-512, AMX).
        room = ctypes.create_string_buffer(_STACK)
        _kept.append(room)
        ctypes.CDLL(None).sigaltstack(ctypes.byref(_Stack(ctypes.addressof(room), 0, _STACK)), None)


def _look_up(descriptor: int, offset: int) -> None:
    """Install the handler that finds the library."""
    libc = ctypes.CDLL(None)
    restore = libc.signal
    restore.argtypes, restore.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p

    def struck(number: int, info: int, context: int) -> None:
        code = ctypes.c_int.from_address(info + 8).value
        if code <= 0:  # sent by a process, or once more by Python's fault handler
            return
        place = library_at(ctypes.c_uint64.from_address(context + offset).value)
        if place:
            os.write(descriptor, f"{_IN}{place}\n".encode())
        faulthandler.dump_traceback(descriptor)
        restore(number, None)  # the default: it strikes a last time, and ends the process

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(struck)
    _kept.append(handler)
    action = _Action(ctypes.cast(handler, ctypes.c_void_p), flags=_ONSTACK | _SIGINFO | _NODEFER)
    for number in _AT_INSTRUCTION:
        libc.sigaction(int(number), ctypes.byref(action), None)


def library_at(address: int) -> str | None:
    """The name of the file that is mapped at an address of this process.

    None where there is none.
    """
    with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as maps:
        for line in maps:
            begin, _, end = line.split(" ", 1)[0].partition("-")
            if int(begin, 16) <= address < int(end, 16):
                path = line.rstrip("\n").split(maxsplit=5)[5:]
                return Path(path[0]).name if path and path[0].startswith("/") else None
    return None


def signal_of(traces: str) -> signal.Signals | None:
    """The signal that Python's fault handler names."""
    return next(
        (number for name, number in SIGNALS.items() if f"{STRUCK.decode()}{name}" in traces), None
    )


def told(number: signal.Signals, traces: str) -> str:
    """A crash in a few words: signal, what the library said, library, and the Python caller."""
    place = re.search(rf"^{_IN}(.+)$", traces, re.MULTILINE)
    said = _SAID.search(traces) if number is signal.SIGABRT else None
    frame = _frame(traces)
    words = [number.name]
    if said:
        words.append(f"({' '.join(said[1].split())[:200]})")
    if place and frame:
        words.append(f"in {place[1]} (called from {frame})")
    elif place or frame:
        words.append(f"in {place[1] if place else frame}")
    return " ".join(words)


def _frame(traces: str) -> str | None:
    """The innermost Python frame of the thread that was struck.

    Where that is one of a library's own, of the only one that does not wait for another. Python
    tells of the first hundred threads (`...` says that there are more).
    """
    _, _, after = traces.partition(STRUCK.decode())
    blocks = re.split(r"^(?=Stack|Current thread|Thread 0x)", after, flags=re.MULTILINE)[1:]
    current = [block for block in blocks if not block.startswith("Thread")]
    ours = [found for block in current if (found := _innermost(block))]
    if ours:
        return _named(ours[0])
    others = [found for block in blocks if (found := _innermost(block))]
    known = [one for one in others if not one[1].endswith("/threading.py")]
    if len(known) != 1 or "\n...\n" in after:
        return None
    return _named(known[0])


def _innermost(block: str) -> re.Match[str] | None:
    """The innermost frame of a thread, without that of the handler here."""
    frames = _FRAME.finditer(block)
    return next((one for one in frames if not one[1].endswith("/work/crash.py")), None)


def _named(frame: re.Match[str]) -> str:
    file = frame[1].rpartition("site-packages/")[2]
    return f"{'/'.join(file.split('/')[-3:])}, {frame[3]}"
