"""Where the server and the credentials come from: `init`, or what is found around the process."""

from __future__ import annotations

import os

from gatekey import initialized_flyte
from gatekey._native import Client, __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_USER_AGENT = f"gatekey-python/{__version__}"

# What decides which server and key the environment names: when one of them changes, so may the client.
_VARIABLES = (
    "GATEKEY_ENDPOINT",
    "GATEKEY_API_KEY",
    "FLYTE_API_KEY",
    "UNION_API_KEY",
    "GATEKEY_CA_FILE",
    "SSL_CERT_FILE",
    "UCTL_CONFIG",
    "FLYTECTL_CONFIG",
    "HOME",
)

_given: Client | None = None
_of_environment: tuple[object, Client] | None = None


def init(
    endpoint: str | None = None,
    *,
    api_key: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    organization: str | None = None,
    scopes: Sequence[str] | None = None,
    plaintext: bool = False,
    timeout: float | None = None,
    retries: int | None = None,
) -> None:
    """Says which server this process talks to, and as whom, from now on.

    What is not given comes from the environment: `GATEKEY_ENDPOINT`; `GATEKEY_API_KEY`, `FLYTE_API_KEY` or
    `UNION_API_KEY`; `GATEKEY_CA_FILE`; then the first of Flyte's files with a section `admin`: `./config.yaml`,
    `./.flyte/config.yaml`, `.flyte/config.yaml` in the root of the git repository, what `UCTL_CONFIG` and
    `FLYTECTL_CONFIG` name, `~/.union/config.yaml`, `~/.flyte/config.yaml`; then `SSL_CERT_FILE`.

    A process that does not call this uses what `flyte.init` set up in it, if that was called with an API key or a
    client secret, and else the environment.

    Args:
        endpoint: Where the server is, such as `https://flyte.example.com:8443`; port 443 if it names none. Beats the
            endpoint of an encoded key.
        api_key: An encoded API key: endpoint, client id, secret and organization in one string.
        client_id: The client id to log in with, in place of an encoded key.
        client_secret: Its secret.
        ca_file: A PEM file of CA certificates to trust besides the system's, for the login too.
        organization: What requests name; none suits a Gatekey server.
        scopes: The scopes to ask for in place of those that the server advertises.
        plaintext: Speak HTTP in the clear, secrets included, to an endpoint that does not say `https://`.
        timeout: Seconds that a call may take, login and retries included; 30 if not given.
        retries: How often a call is tried again when the server is unavailable; 3 if not given.

    Raises:
        ConfigurationError: When no server and credentials are found, or what is found cannot be used.
        ValueError: When a number is out of range, `client_id` and `client_secret` are not given together, or a
            secret is no text.

    Example:
        gatekey.init("https://flyte.example.com:8443", client_id="admin", client_secret=secret)
    """
    global _given
    try:
        _given = Client(
            endpoint=endpoint,
            api_key=api_key,
            client_id=client_id,
            client_secret=client_secret,
            ca_file=ca_file,
            organization=organization,
            scopes=scopes,
            plaintext=plaintext,
            timeout=timeout,
            retries=retries,
            user_agent=_USER_AGENT,
        )
    finally:
        # A traceback that shows local variables shows none that are gone.
        del api_key, client_secret


def client() -> Client:
    """The client for the next call."""
    if _given is not None:
        return _given
    tried = ["gatekey.init"]
    found = initialized_flyte.client(_USER_AGENT, tried)
    return _environment_client(tried) if found is None else found


def _environment_client(tried: list[str]) -> Client:
    global _of_environment
    around = (os.getpid(), os.getcwd(), *map(os.environ.get, _VARIABLES))
    if _of_environment is not None and _of_environment[0] == around:
        return _of_environment[1]
    made = Client(tried=tried, user_agent=_USER_AGENT)
    _of_environment = (around, made)
    return made
