"""Everything that can go wrong, under one class: `Error`."""

from __future__ import annotations


class Error(Exception):
    """A call that failed, or settings that cannot be used. The message is one sentence and holds no secret."""

    code: str
    """`configuration`, or a code of the Connect protocol such as `not_found`."""

    request_id: str | None
    """The `x-request-id` of the call that failed, to find it in the server's log; none before a call."""

    is_retryable: bool
    """Whether the same call may succeed later."""

    def __init__(
        self, message: str, *, code: str = "unknown", request_id: str | None = None, is_retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id
        self.is_retryable = is_retryable

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are pickled by their positional arguments alone.
        return _error_from_parts, (type(self), str(self), self.code, self.request_id, self.is_retryable)


class ConfigurationError(Error):
    """Settings are missing, contradictory or unreadable; nothing was sent. Code `configuration`."""


class InvalidArgumentError(Error):
    """A value breaks a rule; the message names it. Code `invalid_argument`."""


class NotFoundError(Error):
    """There is no such key. Code `not_found`."""


class AlreadyExistsError(Error):
    """A key with that client id exists. Code `already_exists`."""


class UnauthenticatedError(Error):
    """The credentials are wrong, expired, disabled or revoked. Code `unauthenticated`."""


class PermissionDeniedError(Error):
    """The credentials are good, but do not allow this. Code `permission_denied`."""


class FailedPreconditionError(Error):
    """The key's state does not allow this. Code `failed_precondition`."""


class ResourceExhaustedError(Error):
    """Too many requests, or too large a message. Code `resource_exhausted`."""


class UnavailableError(Error):
    """The server cannot be reached, or refuses work for now. Code `unavailable`."""


class DeadlineExceededError(Error):
    """No answer came in time; a change may have been made all the same. Code `deadline_exceeded`."""


class UnimplementedError(Error):
    """The server lacks the method: for `rotate` and its like, it is not a Gatekey. Code `unimplemented`."""


_CLASS_OF_CODE: dict[str, type[Error]] = {
    "configuration": ConfigurationError,
    "invalid_argument": InvalidArgumentError,
    "not_found": NotFoundError,
    "already_exists": AlreadyExistsError,
    "unauthenticated": UnauthenticatedError,
    "permission_denied": PermissionDeniedError,
    "failed_precondition": FailedPreconditionError,
    "resource_exhausted": ResourceExhaustedError,
    "unavailable": UnavailableError,
    "deadline_exceeded": DeadlineExceededError,
    "unimplemented": UnimplementedError,
}


def error_of_code(code: str, message: str, request_id: str | None, is_retryable: bool) -> Error:
    """The error of the class that the code names; `Error` itself for a code that has none."""
    return _error_from_parts(_CLASS_OF_CODE.get(code, Error), message, code, request_id, is_retryable)


def _error_from_parts(
    of_class: type[Error], message: str, code: str, request_id: str | None, is_retryable: bool
) -> Error:
    return of_class(message, code=code, request_id=request_id, is_retryable=is_retryable)
