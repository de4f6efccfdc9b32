"""The error tree, the one place where a failure gets its HTTP status, gRPC status and exit code.

    NovacronError                      500 INTERNAL             exit 1
    |-- InvalidInputError              400 INVALID_ARGUMENT     exit 2
    |   |-- SchemaError                400  a column or tensor is missing, unknown or mistyped
    |   |-- OutOfRangeError            400  a value is outside the range its unit allows
    |   |-- UnreadableInputError       400  bytes that do not parse: truncated, wrong format
    |   |-- ConfigError                400  a setting is unknown or not allowed
    |   `-- PayloadTooLargeError       413  more bytes or rows than the limit
    |-- UnauthorizedError              401 UNAUTHENTICATED      exit 2  no token, or a wrong one
    |-- ForbiddenError                 403 PERMISSION_DENIED    exit 2
    |-- NotFoundError                  404 NOT_FOUND            exit 2
    |   |-- ModelNotFoundError         404  no such model, version or alias
    |   |-- DatasetNotFoundError       404  no such data set, or its files are not there
    |   `-- UnknownNameError           404  no such parameter, group, target or scenario
    |-- MethodNotAllowedError          405 UNIMPLEMENTED        exit 2
    |-- FeatureMismatchError           409 FAILED_PRECONDITION  exit 1
    |-- ArtifactError                  409 FAILED_PRECONDITION  exit 1  digest or format is wrong
    |-- GateRefusedError               409 FAILED_PRECONDITION  exit 3
    |-- ConflictError                  409 FAILED_PRECONDITION  exit 2  it is in another state
    |-- EpisodeFinishedError           409 FAILED_PRECONDITION  exit 1  reset the environment first
    |-- OverloadedError                429 RESOURCE_EXHAUSTED   exit 1  retry after `retry_after_s`
    |   `-- RateLimitedError           429  the caller asks more often than it may
    |-- NotReadyError                  503 UNAVAILABLE          exit 1
    |   `-- CircuitOpenError           503  a version that failed gets no calls for a while
    |-- DeadlineExceededError          504 DEADLINE_EXCEEDED    exit 1  no answer in the time given
    `-- MissingDependencyError         500 INTERNAL             exit 1  an extra is not installed

Every error says what was got, what was expected and what to do; `assert` is kept for our own
invariants.
"""

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar


class NovacronError(Exception):
    """Base of all errors this project raises on purpose.

    Args:
        message: One sentence saying what happened.
        remedy: What the reader can do about it; may be empty.
    """

    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel from workers; the default would call `__init__` with the message alone.
        return (_restore, (type(self), self.args, self.__dict__))

    def to_dict(self) -> dict[str, Any]:
        """Return the error as the JSON object that HTTP answers and `--json` print."""
        return {"error": str(self), "code": type(self).__name__, "remedy": self.remedy}


def _restore(
    kind: type[NovacronError], arguments: tuple[Any, ...], state: dict[str, Any]
) -> NovacronError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class InvalidInputError(NovacronError):
    """A caller's value is not usable.

    Args:
        field: The field, column, tensor or setting at fault.
        got: The offending value, shortened.
        expected: What would have been accepted, with its unit.
        remedy: What the caller can do.
    """

    http_status = 400
    grpc_status = "INVALID_ARGUMENT"
    exit_code = 2

    def __init__(self, *, field: str, got: object, expected: str, remedy: str = "") -> None:
        shown = repr(got)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        super().__init__(f"{field}: got {shown}, expected {expected}.", remedy=remedy)
        self.field = field
        self.got = shown
        self.expected = expected

    def to_dict(self) -> dict[str, Any]:
        """Return the base object plus `field`, `got` and `expected`."""
        return super().to_dict() | {
            "field": self.field,
            "got": self.got,
            "expected": self.expected,
        }


class SchemaError(InvalidInputError):
    """A column or tensor is missing, unknown or of the wrong type or shape."""


class OutOfRangeError(InvalidInputError):
    """A value lies outside the range its unit allows, or is not a finite number."""


class UnreadableInputError(InvalidInputError):
    """Bytes that do not parse: truncated, or not in the format they claim."""


class ConfigError(InvalidInputError):
    """A setting is unknown, mistyped or not allowed."""


class PayloadTooLargeError(InvalidInputError):
    """More bytes or rows than the configured limit."""

    http_status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class _RefusedCallerError(NovacronError):
    """A caller who is not let in.

    Args:
        message: Why.
        remedy: What the caller can do.
        challenge: Value of the header `WWW-Authenticate`, where there is something to say.
    """

    exit_code = 2

    def __init__(self, message: str, *, remedy: str = "", challenge: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.challenge = challenge


class UnauthorizedError(_RefusedCallerError):
    """The caller did not show a token that is known here."""

    http_status = 401
    grpc_status = "UNAUTHENTICATED"


class ForbiddenError(_RefusedCallerError):
    """The caller may not ask this of this service."""

    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class NotFoundError(NovacronError):
    """What was asked for does not exist."""

    http_status = 404
    grpc_status = "NOT_FOUND"
    exit_code = 2


class ModelNotFoundError(NotFoundError):
    """No registered model, version or alias of that name."""


class DatasetNotFoundError(NotFoundError):
    """No data set of that name, or its files are not where `NOVACRON_DATA_DIR` points."""


class UnknownNameError(NotFoundError):
    """No parameter, parameter group, target or scenario of that name.

    Args:
        kind: What was looked up, e.g. `parameter group`.
        got: The name asked for.
        known: The names that exist.
    """

    def __init__(self, *, kind: str, got: str, known: Sequence[str]) -> None:
        near = difflib.get_close_matches(got, known, n=1)
        super().__init__(
            f"There is no {kind} {got!r}; known: {', '.join(known)}.",
            remedy=f"Did you mean {near[0]!r}?" if near else "Use one of the known names.",
        )
        self.got = got
        self.known = tuple(known)


class MethodNotAllowedError(NovacronError):
    """The route exists but does not take this HTTP method.

    Args:
        message: Which route refused which method.
        allowed: Methods that it takes.
    """

    http_status = 405
    grpc_status = "UNIMPLEMENTED"
    exit_code = 2

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message, remedy=f"Use {' or '.join(allowed)}.")
        self.allowed = allowed


class FeatureMismatchError(NovacronError):
    """A model was trained on other features than the ones this code computes."""

    http_status = 409
    grpc_status = "FAILED_PRECONDITION"


class ArtifactError(NovacronError):
    """A stored artifact is damaged, unsafe or of an unknown format."""

    http_status = 409
    grpc_status = "FAILED_PRECONDITION"


class GateRefusedError(NovacronError):
    """A promotion gate said no; the champion stays."""

    http_status = 409
    grpc_status = "FAILED_PRECONDITION"
    exit_code = 3


class ConflictError(NovacronError):
    """What was asked for does not fit the state that something is in; nothing was changed."""

    http_status = 409
    grpc_status = "FAILED_PRECONDITION"
    exit_code = 2


class EpisodeFinishedError(NovacronError):
    """A step was asked of an environment that is not running: never reset, or finished."""

    http_status = 409
    grpc_status = "FAILED_PRECONDITION"


class OverloadedError(NovacronError):
    """The queue is full.

    Args:
        message: What is full.
        retry_after_s: Seconds after which a retry is likely to be accepted.
    """

    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, remedy=f"Retry after {retry_after_s:.1f} s.")
        self.retry_after_s = retry_after_s

    def to_dict(self) -> dict[str, Any]:
        """Return the base object plus `retry_after_s`."""
        return super().to_dict() | {"retry_after_s": round(self.retry_after_s, 3)}


class RateLimitedError(OverloadedError):
    """The caller asks more often than it may."""


class NotReadyError(NovacronError):
    """The service or a model of it is still loading, or is shutting down."""

    http_status = 503
    grpc_status = "UNAVAILABLE"


class CircuitOpenError(NotReadyError):
    """A version failed too often in a row; it gets no calls until `retry_after_s` have passed.

    Args:
        message: Which version, and what stands in for it: nothing.
        retry_after_s: Seconds until it is tried again.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, remedy=f"Retry after {retry_after_s:.1f} s.")
        self.retry_after_s = retry_after_s

    def to_dict(self) -> dict[str, Any]:
        """Return the base object plus `retry_after_s`."""
        return super().to_dict() | {"retry_after_s": round(self.retry_after_s, 3)}


class DeadlineExceededError(NovacronError):
    """The time that the caller gave was over before there was an answer."""

    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class MissingDependencyError(NovacronError):
    """An optional library is needed for this call and is not installed."""
