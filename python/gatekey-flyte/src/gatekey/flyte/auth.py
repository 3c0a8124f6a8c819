"""API keys as one string: what `flyteplugins.union.utils.auth` offers, and the way back.

The string is base64 of `endpoint:client_id:client_secret:organization`.
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

# Which a colon would tear apart; the endpoint may have one, before its port.
_WITHOUT_COLON = ("client_id", "client_secret", "org")


@dataclass
class AppClientCredentials:
    """What an API key consists of.

    Attributes:
        endpoint: Host, or host and port, without a scheme.
        client_id: What names the key.
        client_secret: Its secret; `repr` leaves it out.
        org: The organization; `None` as text when there is none.
    """

    endpoint: str
    client_id: str
    client_secret: str = field(repr=False)
    org: str


def is_serverless_endpoint(endpoint: str) -> bool:
    """Whether an endpoint, written as its host alone, is one of Union's serverless ones."""
    return endpoint in _SERVERLESS_ENDPOINTS


def encode_app_client_credentials(app_credentials: AppClientCredentials) -> str:
    """Writes an API key as one string, for `FLYTE_API_KEY`. It is a secret.

    Flyte's own clients split it at its first colons, so they cannot read an endpoint with a port; Gatekey's can.

    Raises:
        InvalidArgumentError: When the client id, the secret or the organization has a colon, or a part is no text.
    """
    parts: list[bytes] = []
    for name in ("endpoint", *_WITHOUT_COLON):
        # Callers that follow no types give None for no organization.
        part = str(getattr(app_credentials, name))
        if name in _WITHOUT_COLON and ":" in part:
            raise _invalid(f"{name} must not contain a colon: it separates the parts of an encoded API key")
        try:
            parts.append(part.encode())
        except UnicodeEncodeError:
            # Without the cause: it holds the part, which may be the secret.
            raise _invalid(f"{name} is no text that UTF-8 can write") from None
    return base64.b64encode(b":".join(parts)).decode()


def decode_app_client_credentials(encoded_credentials: str) -> AppClientCredentials:
    """Takes an encoded API key apart; white space around it is ignored. It is read from the right, so that an endpoint
    may name a port.

    Raises:
        InvalidArgumentError: When it is not base64 of text, lacks a part, or endpoint, client id or secret is empty.
    """
    try:
        text = base64.b64decode(encoded_credentials.strip(), validate=True).decode()
    except UnicodeDecodeError:
        raise _invalid("the encoded API key does not decode to text") from None
    except (binascii.Error, ValueError):
        raise _invalid("the encoded API key is not base64; was it copied whole, without line breaks?") from None
    parts = text.rsplit(":", 3)
    if len(parts) != 4:
        raise _invalid("the encoded API key does not decode to endpoint:client_id:client_secret:organization")
    decoded = AppClientCredentials(*parts)
    for name in ("endpoint", "client_id", "client_secret"):
        if not getattr(decoded, name):
            raise _invalid(f"{name} in the encoded API key is empty")
    return decoded


def _invalid(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(message, code="invalid_argument")
