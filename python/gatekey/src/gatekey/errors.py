"""`Error` and its subclasses: the exceptions of this package."""

from __future__ import annotations


class Error(Exception):
    """A failed call, or invalid settings. The message is one sentence, and contains no secret."""

    code: str
    """`configuration`, or a code of the Connect protocol such as `not_found`."""

    request_id: str | None
    """The `x-request-id` of the failed call, as in the server's log; None if none was sent."""

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
        # By default, only the positional arguments of an exception are pickled.
        return _error_from_parts, (type(self), str(self), self.code, self.request_id, self.is_retryable)


class ConfigurationError(Error):
    """Settings are missing or invalid. No request was sent. Code `configuration`."""


class InvalidArgumentError(Error):
    """A value breaks a rule, which the message names. Code `invalid_argument`."""


class NotFoundError(Error):
    """The key does not exist. Code `not_found`."""


class AlreadyExistsError(Error):
    """A key with this client id already exists. Code `already_exists`."""


class UnauthenticatedError(Error):
    """The credentials are wrong, expired, disabled or revoked. Code `unauthenticated`."""


class PermissionDeniedError(Error):
    """The credentials are valid, but do not permit the call. Code `permission_denied`."""


class FailedPreconditionError(Error):
    """The state of the key or the server prevents the call. Code `failed_precondition`."""


class ResourceExhaustedError(Error):
    """The caller sent too many requests, or too large a message. Code `resource_exhausted`."""


class UnavailableError(Error):
    """The server cannot be reached, or is temporarily unavailable. Code `unavailable`."""


class DeadlineExceededError(Error):
    """The call timed out, but may have taken effect. Code `deadline_exceeded`."""


class UnimplementedError(Error):
    """The server lacks the method, as other servers lack `rotate`. Code `unimplemented`."""


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
    """Returns an error of the subclass for the code, or of `Error` itself if there is none."""
    return _error_from_parts(_CLASS_OF_CODE.get(code, Error), message, code, request_id, is_retryable)


def _error_from_parts(
    of_class: type[Error], message: str, code: str, request_id: str | None, is_retryable: bool
) -> Error:
    return of_class(message, code=code, request_id=request_id, is_retryable=is_retryable)
