"""The server and the credentials of calls: from `init`, from Flyte, or from the environment."""

from __future__ import annotations

import os
import sys

from gatekey import initialized_flyte
from gatekey._native import Client, __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_USER_AGENT = f"gatekey-python/{__version__}"

# A change of one of these variables may change the server or the key.
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
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
)

_given: Client | None = None
# The client from the environment, with the variables and directory that it was created from.
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
    """Sets the server and the credentials for all later calls of this process.

    Missing arguments come from the environment, in this order:

    1. `GATEKEY_ENDPOINT`.
    2. `GATEKEY_API_KEY`, `FLYTE_API_KEY` or `UNION_API_KEY`: an encoded API key.
    3. `GATEKEY_CA_FILE`.
    4. Flyte's configuration: the first file that has a section `admin` of `./config.yaml`,
       `./.flyte/config.yaml`, `.flyte/config.yaml` in the root of the git repository, the files
       named by `UCTL_CONFIG` and `FLYTECTL_CONFIG`, `~/.union/config.yaml` and
       `~/.flyte/config.yaml`. A file that is neither named nor the caller's own in the home
       directory may have been written by somebody else: it may name only secrets beside itself, its
       endpoint gets only those, and standard error says that it is used.
    5. `SSL_CERT_FILE`.

    Connections go through the proxies of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in
    upper or lower case, as in curl, but never to a loopback address.

    A process that does not call this uses the settings of `flyte.init`, if that was called with an
    API key or a client secret, or else the environment.

    Args:
        endpoint: The server, such as `https://flyte.example.com:8443`. The port defaults to 443.
            Overrides the endpoint of an encoded key. `http://` is only for loopback addresses such as
            `http://127.0.0.1:8443`. A key from the environment must be for the same host.
        api_key: An encoded API key: endpoint, client id, secret and organization in one string.
        client_id: The client id to log in with, instead of an encoded key.
        client_secret: The secret of the client id.
        ca_file: A PEM file of CA certificates to trust in addition to the system's, also for the
            login.
        organization: The organization of requests. A Gatekey server does not need one.
        scopes: The scopes to request. Defaults to those that the server advertises.
        plaintext: Send requests, with their secrets, over plaintext HTTP to any host, unless the
            endpoint starts with `https://`.
        timeout: The timeout of a call in seconds, including login and retries. Defaults to 30.
        retries: How often a call is retried while the server is unavailable. Defaults to 3.

    Raises:
        ConfigurationError: If no server or credentials are found, or a setting is invalid.
        ValueError: If a number is out of range, only one of `client_id` and `client_secret` is
            given, or a secret is not valid text.

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
        # Keeps the secrets out of tracebacks that show local variables.
        del api_key, client_secret
    _print_notices(_given)


def client() -> Client:
    """Returns the client for the next call."""
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
    _print_notices(made)
    _of_environment = (around, made)
    return made


def _print_notices(of: Client) -> None:
    """Prints that a configuration file was found by searching, which the caller may not expect."""
    # Python has no standard error in a program without a console.
    for notice in of.notices if sys.stderr else ():
        print(f"gatekey: {notice}", file=sys.stderr)
