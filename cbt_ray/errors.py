"""What can go wrong, and which exit code says so.

CbtRayError
+- InputError        2  the user must act first: a bad file, field or input; names them
|   +- KeyRefused    2  an endpoint answered 401 or 403
|   +- BudgetReached 2  the study file's budget is spent; the rest stays owed
|   +- WorkerDied    2  a job's worker crashes each time; trying again is no help
|   +- GateFailed    2  a tuned or compared model failed its parity gate and serves no arm
|   +- PeopleAwaited 2  people have not rated all that the analysis waits for
+- Infrastructure    1  a fault of the world; retried, or the unit stays owed; never data
+- Owed              1  units are left to do; running again may help
+- BelowMinimum      3  nothing owed, but a stage stayed below its `minimum`
+- ModelFailure      -  an answer is of no use; ends as a rejected unit, never as an exit code
"""

from __future__ import annotations


class CbtRayError(Exception):
    """Root of every error that cbt-ray raises on purpose; its text is one line."""

    exit_code = 1


class InputError(CbtRayError):
    """The user must act first.

    Each argument is one problem: file, field and what was expected, on one line.
    """

    exit_code = 2

    @property
    def problems(self) -> tuple[str, ...]:
        """All that is wrong, in the order in which it was found."""
        return tuple(str(problem) for problem in self.args)

    def __str__(self) -> str:
        """One line a problem."""
        return "\n".join(self.problems)


class KeyRefused(InputError):
    """An endpoint refused the key (401, 403)."""


class BudgetReached(InputError):
    """The study's budget is spent; what was not begun stays owed."""


class WorkerDied(InputError):
    """A job's worker crashed, or ran out of memory, each time before a unit was done.

    `job` is the job's name.
    """

    def __init__(self, message: str, job: str) -> None:
        super().__init__(message)
        self.job = job


class GateFailed(InputError):
    """A model that was exported is not what was trained.

    It is kept for the user to look at, and serves no arm.
    """


class PeopleAwaited(InputError):
    """People have not rated all that the analysis waits for; running again brings none."""


class Infrastructure(CbtRayError):
    """A fault of the world and not of a model: retried or left owed, never stored as data.

    `kind` is one word for the tables (rate_limit, server, timeout, connection, store, malformed,
    unfinished);
    `retry_after` is what the server asked for, in seconds, where it did; `sent` is False where no
    call left this machine.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        kind: str = "server",
        retry_after: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.sent = sent

    def __reduce__(self) -> tuple[type[Infrastructure], tuple[str, str, float | None, bool]]:
        """Keep the fields across processes (Ray pickles exceptions)."""
        return type(self), (str(self), self.kind, self.retry_after, self.sent)


class Owed(CbtRayError):
    """Units are left to do; running the same command again does them."""

    exit_code = 1


class BelowMinimum(CbtRayError):
    """Nothing is owed, but a stage has fewer usable units than the study file's `minimum`."""

    exit_code = 3


class ModelFailure(CbtRayError):
    """A model's answer is of no use (empty, refused, invalid after all attempts): the unit is
    rejected with this reason.

    `reason` is a short machine-readable word, counted by `status`; the message holds the details.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ModelFailure], tuple[str, str]]:
        """Keep the fields across processes."""
        return type(self), (self.reason, str(self))
