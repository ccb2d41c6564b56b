"""Ray itself: begun on this machine, or joined where a cluster runs."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Any

from cbt_ray.errors import Infrastructure

KNOCK_S = 10.0
"""Seconds that a cluster's address has to answer in."""
BEGIN_TRIES = 3
"""Times that Ray is begun: on a busy machine its own 30 s for a start may not be enough."""
PORT_WAIT_S = 120
"""Seconds that Ray's head has to open its port in, instead of its 30."""


def begin(address: str | None, **settings: Any) -> None:
    """Start Ray here, or join it at `address`; `settings` are those of `ray.init` for a Ray of our own.

    Raises:
        Infrastructure: Nobody listens at the address, or Ray did not start.

    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(PORT_WAIT_S))
    if address:
        _knock(address)
    before = signal.getsignal(signal.SIGTERM)
    failure = ""
    for _ in range(BEGIN_TRIES):
        failure = _try(address, {} if address else settings)
        if not failure:
            break
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own handler prints a C++ stack
    if failure:
        where = f"engine.address {address}" if address else "Ray on this machine"
        raise Infrastructure(f"{where}: {failure}", "connection")


def _try(address: str | None, settings: dict[str, Any]) -> str:
    """Begin once; what went wrong, in one line."""
    import ray

    try:
        ray.init(address=address or "local", logging_level="ERROR", log_to_driver=False, **settings)
    except Exception as error:  # a start that took too long is a bare Exception of Ray's
        ray.shutdown()
        return (str(error).splitlines() or [type(error).__name__])[0]
    return ""


def _knock(address: str) -> None:
    """Raise Infrastructure where nobody listens at a cluster's address: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, or whatever else Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
    except OSError as error:
        raise Infrastructure(f"engine.address {address}: nobody listens there ({error})", "connection") from None
