"""Encoding and decoding of API keys, as in `flyteplugins.union.utils.auth`.

An encoded key is base64 of `endpoint:client_id:client_secret:organization`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from gatekey.errors import InvalidArgumentError

_SERVERLESS_ENDPOINTS = frozenset(
    (
        "serverless-1.us-east-2.s.union.ai",
        "serverless-gcp.cloud-staging.union.ai",
        "serverless-preview.canary.unionai.cloud",
        "utt-srv-canary-1.canary.unionai.cloud",
        "utt-srv-staging-1.cloud-staging.union.ai",
    )
)

_QUOTATION_MARKS = ('"', "'", "`", "\u201c", "\u201d", "\u2019")

# The parts that must not contain a colon. The endpoint may have one before its port.
_WITHOUT_COLON = ("client_id", "client_secret", "org")


@dataclass
class AppClientCredentials:
    """The parts of an API key.

    Attributes:
        endpoint: The host, or host and port, without a scheme.
        client_id: The client id of the key.
        client_secret: The secret, which `repr` omits.
        org: The organization, or the string `None` if there is none.
    """

    endpoint: str
    client_id: str
    client_secret: str = field(repr=False)
    org: str


def is_serverless_endpoint(endpoint: str) -> bool:
    """Whether an endpoint, given as its host, is one of Union's serverless endpoints."""
    return endpoint in _SERVERLESS_ENDPOINTS


def encode_app_client_credentials(app_credentials: AppClientCredentials) -> str:
    """Encodes an API key as one string, for `FLYTE_API_KEY`. It contains the secret.

    Flyte's own clients split the decoded text at its first colons, so they misread an endpoint with
    a port. Gatekey's clients read it.

    Raises:
        InvalidArgumentError: If the client id, the secret or the organization contains a colon, or
            a part cannot be encoded in UTF-8.
    """
    parts: list[bytes] = []
    for name in ("endpoint", *_WITHOUT_COLON):
        # Untyped callers may pass None as the organization.
        part = str(getattr(app_credentials, name))
        if name in _WITHOUT_COLON and ":" in part:
            raise _invalid(f"{name} must not contain a colon: it separates the parts of an encoded API key")
        try:
            parts.append(part.encode())
        except UnicodeEncodeError:
            # Without the cause, which contains the part and so perhaps the secret.
            raise _invalid(f"{name} contains a character that UTF-8 cannot encode") from None
    return base64.b64encode(b":".join(parts)).decode()


def decode_app_client_credentials(encoded_credentials: str) -> AppClientCredentials:
    """Decodes an API key. Ignores leading and trailing white space.

    The decoded text is split from the right, so that the endpoint may have a port.

    Raises:
        InvalidArgumentError: If the key is not base64 of UTF-8 text, lacks a part, or has an empty
            endpoint, client id or secret.
    """
    given = encoded_credentials.strip()
    if given[:1] in _QUOTATION_MARKS or given[-1:] in _QUOTATION_MARKS:
        raise _invalid("the encoded API key has quotation marks around it; remove them")
    if given.startswith("gk_"):
        raise _invalid("this is a client secret; use the encoded credentials that were printed with it")
    try:
        text = base64.b64decode(encoded_credentials.strip(), validate=True).decode()
    except UnicodeDecodeError:
        raise _invalid("the encoded API key does not decode to text") from None
    except (binascii.Error, ValueError):
        raise _invalid("the encoded API key is not base64; was it copied whole, without line breaks?") from None
    parts = text.rsplit(":", 3)
    if len(parts) != 4:
        raise _invalid("the encoded API key does not decode to endpoint:client_id:client_secret:organization")
    endpoint, client_id, client_secret, org = parts
    # White space around a secret, such as a line break from a file, is not part of it.
    decoded = AppClientCredentials(endpoint, client_id, client_secret.strip(), org)
    for name in ("endpoint", "client_id", "client_secret"):
        if not getattr(decoded, name):
            raise _invalid(f"{name} in the encoded API key is empty")
    return decoded


def _invalid(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(message, code="invalid_argument")
