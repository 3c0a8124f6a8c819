"""API keys for the Flyte you host yourself.

    import gatekey

    key = gatekey.ApiKey.create("ci-pipeline")
    print(f"export FLYTE_API_KEY={key.encoded_credentials}")

`ApiKey` is the class documented as `flyteplugins.union.remote.ApiKey`. Where it finds its server and credentials is
told at `gatekey.init`. All that can go wrong is a `gatekey.Error`.
"""

from gatekey._native import KeyDetails, SecretDetails, __version__
from gatekey.api_key import ApiKey
from gatekey.errors import (
    AlreadyExistsError,
    ConfigurationError,
    DeadlineExceededError,
    Error,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from gatekey.settings import init

__all__ = [
    "AlreadyExistsError",
    "ApiKey",
    "ConfigurationError",
    "DeadlineExceededError",
    "Error",
    "FailedPreconditionError",
    "InvalidArgumentError",
    "KeyDetails",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "SecretDetails",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "__version__",
    "init",
]
