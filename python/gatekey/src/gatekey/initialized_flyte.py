"""What `flyte.init` set up in this process: its endpoint, its client secret, its CA.

Flyte keeps these where no public function shows them, and not at the same place in its two generations: that of gRPC
(2.0) and that of Connect (2.1 and later). All that this package knows of Flyte's inside is here.
"""

from __future__ import annotations

import os
import sys

from gatekey._native import Client
from gatekey.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

# The client that Flyte made, and ours for the same server.
_known: tuple[object, Client] | None = None


def client(user_agent: str, tried: list[str]) -> Client | None:
    """A client for what Flyte was initialized with, or none, and then `tried` says so.

    Raises:
        ConfigurationError: When Flyte logs in with something other than a client secret, and `GATEKEY_API_KEY` is not
            set either. To look further would be to act on a server that the script did not mean.
    """
    global _known
    of_flyte = _client_of_flyte()
    if of_flyte is None:
        tried.append("flyte.init")
        return None
    if _known is not None and _known[0] is of_flyte:
        return _known[1]
    login = _login(of_flyte)
    secret = login.get("client_secret") or login.get("client_credentials_secret")
    endpoint = str(of_flyte.endpoint)
    if not login.get("client_id") or not secret:
        if os.environ.get("GATEKEY_API_KEY"):
            tried.append("flyte.init, which has no client secret")
            return None
        raise ConfigurationError(
            f"flyte.init has no client secret for {endpoint} ({login.get('auth_type') or 'no login'}), which is all "
            "that API keys can log in with; call flyte.init_from_api_key, or gatekey.init, or set GATEKEY_API_KEY",
            code="configuration",
        )
    try:
        made = Client(
            endpoint=endpoint,
            client_id=login["client_id"],
            client_secret=secret,
            # Like whatever else is missing here, it comes from the environment then.
            ca_file=login.get("ca_cert_file_path"),
            scopes=list(login["scopes"]) if login.get("scopes") else None,
            plaintext=endpoint.startswith("http://"),
            user_agent=user_agent,
        )
    finally:
        del login, secret
    _known = (of_flyte, made)
    return made


def _client_of_flyte() -> Any | None:
    # Not imported: where Flyte was not, it was not initialized.
    initialize = sys.modules.get("flyte._initialize")
    return getattr(getattr(initialize, "_init_config", None), "client", None)


def _login(of_flyte: Any) -> Mapping[str, Any]:
    """The keyword arguments that Flyte makes its authenticator with."""
    session = getattr(of_flyte, "session_config", None)
    if session is not None:
        return session.auth_kwargs
    for interceptor in _interceptors(of_flyte):
        make = getattr(interceptor, "_get_authenticator", None)
        if make is None:
            continue
        kept = dict(
            zip(make.__code__.co_freevars, (cell.cell_contents for cell in make.__closure__ or ()), strict=True)
        )
        # The other authenticator, for a proxy in between, keeps its command beside.
        if "proxy_command" not in kept:
            return kept.get("kwargs", {})
    return {}


def _interceptors(of_flyte: Any) -> Iterable[Any]:
    return getattr(getattr(of_flyte, "_channel", None), "_unary_unary_interceptors", None) or ()
