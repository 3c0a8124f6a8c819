"""API keys for self-hosted Flyte.

    import gatekey

    key = gatekey.ApiKey.create("ci-pipeline")
    print(f"export FLYTE_API_KEY={key.encoded_credentials}")

`ApiKey` is the class that Union documents as `flyteplugins.union.remote.ApiKey`. `gatekey.init`
describes where the server and the credentials come from. Every failure is a `gatekey.Error`.
"""

import os
import sys

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

# gatekey-flyte contains `gatekey.flyte`, and may be in another folder than this package, as after
# `pip install --user`.
__path__ += [
    folder
    for folder in (os.path.join(entry, "gatekey") for entry in sys.path)
    if folder not in __path__ and os.path.isdir(os.path.join(folder, "flyte"))
]

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
