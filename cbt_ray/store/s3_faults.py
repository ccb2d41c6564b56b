"""What botocore raises, as cbt-ray's errors: the one place where they are mapped.

A server's own text is left out of messages, since it may repeat what the client sent; its code says
enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cbt_ray.errors import CbtRayError, Infrastructure, InputError
from cbt_ray.store.address import CREDENTIALS, Address

ABSENT = {"404", "NoSuchKey", "NotFound"}
TAKEN = {"412", "PreconditionFailed"}
GONE = {"NoSuchUpload"}
CONFLICT = {"409", "ConditionalRequestConflict", "OperationAborted"}
# Running again does not help against these: the user must act first.
REFUSED = {
    "NoSuchBucket": "the bucket does not exist; make it first",
    "InvalidAccessKeyId": "the server does not know this access key",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "ExpiredToken": "the session token has expired",
    "NotImplemented": "the server lacks what cbt-ray needs",
    "PermanentRedirect": "the bucket lies in another region; set AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; set AWS_DEFAULT_REGION",
}


def code_of(error: BaseException) -> str:
    """The server's error code (or the HTTP status as text), or "" where no server answered."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def attempts_of(error: BaseException) -> int:
    """How often botocore repeated the request before this answer."""
    response = getattr(error, "response", None)
    return (
        int(response.get("ResponseMetadata", {}).get("RetryAttempts", 0))
        if isinstance(response, dict)
        else 0
    )


@contextmanager
def mapped(address: Address) -> Iterator[None]:
    """Turn what boto3 and the local disk raise inside into Infrastructure or InputError."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise fault(address, error) from error
    except OSError as error:
        raise Infrastructure(f"store {address.name}: {error}", "store") from error


def fault(address: Address, error: BaseException) -> CbtRayError:
    """The error of cbt-ray that stands for one of botocore's."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import ClientError

    inner = getattr(error, "last_exception", None) or error.__cause__ or error.__context__
    if (
        isinstance(error, Boto3Error) and inner is not None
    ):  # boto3 wraps a transfer's fault in a text
        return fault(address, inner)
    if isinstance(error, ClientError):
        return _answered(address, error)
    return _unanswered(address, error)


def _answered(address: Address, error: BaseException) -> CbtRayError:
    code, status = (
        code_of(error),
        int(getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
    )
    where = f"store {address.name} on {address.host}"
    if code in REFUSED:
        return InputError(
            f"{where}: {REFUSED[code]} ({code}); expected a bucket that can be read and written"
        )
    if status in {401, 403}:
        return InputError(
            f"{where}: access refused ({code}); expected a key that may read, write, list and "
            "delete"
        )
    return Infrastructure(
        f"{where}: {code or status} ({getattr(error, 'operation_name', 'request')})", "store"
    )


def _of_agent(error: BaseException) -> bool:
    """Whether credentials come from an agent beside the pod: it may be back before they are needed
    again, hours into a job.
    """
    return bool(getattr(error, "kwargs", {}).get("provider") == "container-role")


def _unanswered(address: Address, error: BaseException) -> CbtRayError:
    from botocore import exceptions as b

    where = f"store {address.name} on {address.host}"
    if isinstance(error, b.CredentialRetrievalError) and _of_agent(error):
        return Infrastructure(
            f"{where}: the agent gives no credentials for the pod's role", "store"
        )
    if isinstance(
        error, (b.NoCredentialsError, b.PartialCredentialsError, b.CredentialRetrievalError)
    ):
        return InputError(f"{where}: no credentials found; {CREDENTIALS}")
    if isinstance(
        error,
        (b.ProfileNotFound, b.ConfigParseError, b.ParamValidationError, b.TokenRetrievalError),
    ):
        return InputError(f"{where}: {type(error).__name__}; {CREDENTIALS}")
    if isinstance(error, (b.ConnectTimeoutError, b.ReadTimeoutError)):
        return Infrastructure(f"{where}: no answer in time ({type(error).__name__})", "store")
    if isinstance(error, (b.HTTPClientError, b.ConnectionError)):
        return Infrastructure(f"{where}: out of reach ({type(error).__name__})", "store")
    return Infrastructure(f"{where}: {type(error).__name__}", "store")
