"""The entry point: runs a command, turns errors into one line and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from types import FrameType
from typing import NoReturn

NO_TELEMETRY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Nothing is sent anywhere but to the endpoints of the study file; set before any library is imported."""


class Stopped(BaseException):
    """SIGTERM came; no exception of its own kind, so that nothing takes it for one job's fault and goes on."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore", ResourceWarning)  # libraries leave /dev/null open
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(arguments))


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave what is under way owed. Training replaces this: it saves a checkpoint first."""
    raise Stopped


def run(arguments: list[str] | None = None) -> int:  # noqa: PLR0911  one return an exit code
    """Run the command line; answers its exit code."""
    import click

    from cbt_ray.cli import cli
    from cbt_ray.errors import CbtRayError

    try:
        cli.main(arguments, prog_name="cbt-ray", standalone_mode=False)
    except CbtRayError as error:
        print(f"cbt-ray: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.ClickException as error:
        print(f"cbt-ray: {' '.join(error.format_message().split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cbt-ray: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except Stopped:
        print("cbt-ray: stopped by SIGTERM; run the same command again to go on", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, click.Abort):
        print("cbt-ray: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    main()
