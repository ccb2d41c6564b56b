"""A Ray cluster that is there: joined by its address."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

from cbt_ray.errors import Infrastructure

KNOCK_S = 10.0
"""Seconds that a cluster's address has to answer in."""


def join(address: str) -> None:
    """Join the cluster; raises Infrastructure where nobody listens there."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    _knock(address)
    try:
        _connect(address)
    except Exception as error:  # Ray raises whatever comes
        raise Infrastructure(f"engine.address {address}: {_line(error)}", "connection") from None


def _connect(address: str) -> None:
    """Connect this process; Ray's own words are not shown, and SIGTERM remains ours."""
    import ray
    import ray._private.worker

    ray._private.worker._worker_logs_enabled = (
        False  # else "(raylet)" lines, whatever log_to_driver says
    )
    try:
        with _held(signal.SIGTERM):
            ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except BaseException:
        ray.shutdown()
        raise


@contextlib.contextmanager
def _held(number: signal.Signals) -> Iterator[None]:
    """Hold SIGTERM back, and keep its handler: Ray puts one there that prints a C++ stack."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(number)
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.signal(number, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _knock(address: str) -> None:
    """Raise Infrastructure where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, or whatever else Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
    except OSError as error:
        raise Infrastructure(
            f"engine.address {address}: nobody listens there ({error})", "connection"
        ) from None
