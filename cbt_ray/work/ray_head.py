"""The process that begins Ray on this machine: `python -m cbt_ray.work.ray_head PARENT SETTINGS`.

It prints one line of JSON, the address or what went wrong. Ray ends with its standard input, or
with its parent.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import ExitStack
from functools import partialmethod

from cbt_ray.work.worker_process import die_with


def main() -> None:
    """Begin Ray, say where it listens, and hold it until the parent lets go."""
    die_with(int(sys.argv[1]))
    import ray

    try:
        _name_ports()
        ray.init(
            address="local", logging_level="ERROR", log_to_driver=False, **json.loads(sys.argv[2])
        )
    except Exception as error:  # a start that took too long is a bare Exception of Ray's
        lines = str(error).splitlines() or [type(error).__name__]
        print(json.dumps({"failure": lines[0]}), flush=True)
        sys.exit(1)
    print(json.dumps({"address": ray.get_runtime_context().gcs_address}), flush=True)
    sys.stdin.read()
    ray.shutdown()


def _name_ports() -> None:
    """Say on which ports Ray's agents listen.

    Where they choose, the raylet gives up after 15 s without a word of one. `ray start` has such
    settings, `ray.init` has none.
    """
    from ray._private.parameter import RayParams

    with ExitStack() as taken:
        free = [
            taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for _ in range(3)
        ]
    names = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    RayParams.__init__ = partialmethod(RayParams.__init__, **dict(zip(names, free, strict=True)))


if __name__ == "__main__":
    main()
