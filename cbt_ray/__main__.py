"""The entry point: runs a command, turns errors into one line each and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

NO_TELEMETRY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Nothing is sent anywhere but to the endpoints of the study file; set before any library is
imported."""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""The matrices of an analysis are small: threads that share one wait for each other, and compute
meanwhile for nothing."""


class Stopped(BaseException):
    """SIGTERM came.

    No exception of its own kind, so that nothing takes it for one job's fault and goes on.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    if sys.getfilesystemencoding() != "utf-8":
        # Names of files and what is printed are UTF-8 whatever the locale says, and are only so
        # from the start.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  ourselves
    prepare()
    sys.exit(run(arguments))


def prepare() -> None:
    """Settle what holds for the whole process.

    No telemetry, quiet libraries, one thread for small matrices, SIGTERM as an orderly end; a crash
    says in which library.
    """
    from cbt_ray.work import crash

    for name, value in (NO_TELEMETRY | ONE_THREAD).items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, _terminate)
    crash.watch(2)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave what is under way owed. Training replaces this: it saves a checkpoint first."""
    raise Stopped


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; answers its exit code, having said what went wrong."""
    code, message = outcome(arguments)
    if message:
        print(message, file=sys.stderr)
    return code


def outcome(arguments: list[str] | None = None) -> tuple[int, str]:  # noqa: PLR0911  one return an exit code
    """Run the command line.

    Answers its exit code, and what went wrong: one line, and of bad input one line a problem.
    """
    import click

    from cbt_ray.cli import cli
    from cbt_ray.errors import CbtRayError, InputError

    try:
        code = cli.main(arguments, prog_name="cbt-ray", standalone_mode=False)
    except InputError as error:
        return error.exit_code, "\n".join(map(_line, error.problems))
    except CbtRayError as error:
        return error.exit_code, _line(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        return 2, error.format_message()
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "cbt-ray"
        return 2, _line(f"{error.format_message().rstrip('.')}; see: {where} --help")
    except click.ClickException as error:
        return 2, _line(error.format_message())
    except OSError as error:
        if (
            error.errno == errno.ENAMETOOLONG
        ):  # no fault of the machine's, wherever it was looked for
            return 2, _line(
                f"expected a path that the file system takes, found {str(error.filename)[:40]!r}..."
            )
        return 1, _line(str(error))
    except Stopped:
        return 1, _line("stopped by SIGTERM; run the same command again to go on")
    except (KeyboardInterrupt, click.Abort):
        return 130, _line("interrupted; run the same command again to go on")
    return code if isinstance(code, int) else 0, ""  # what a command ended with of its own


def _line(message: str) -> str:
    """One line, whatever a file's name or field holds: line breaks as blanks, other control
    characters written out.
    """
    line = " ".join(message.split())
    return "cbt-ray: " + "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in line
    )


if __name__ == "__main__":
    main()
