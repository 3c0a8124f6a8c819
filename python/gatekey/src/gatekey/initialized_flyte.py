"""The settings that `flyte.init` has stored in this process: endpoint, client secret and CA.

Flyte has no public function for them, and stores them in different places in version 2.0, which
uses gRPC, and in 2.1 and later, which use Connect. No other module depends on Flyte's internals.
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

# Flyte's client, and ours for the same server.
_known: tuple[object, Client] | None = None


def client(user_agent: str, tried: list[str]) -> Client | None:
    """Returns a client with Flyte's settings, or None if there are none.

    In that case it adds the reason to `tried`.

    Raises:
        ConfigurationError: If Flyte logs in with something other than a client secret, and
            `GATEKEY_API_KEY` is not set. Other sources are not searched, because they may name a
            server that the script does not mean.
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
            tried.append("flyte.init (no client secret)")
            return None
        raise ConfigurationError(
            f"flyte.init has no client secret for {endpoint} ({login.get('auth_type') or 'no login'}), and no other "
            "login can manage API keys; call flyte.init_from_api_key or gatekey.init, or set GATEKEY_API_KEY",
            code="configuration",
        )
    if _skips_verification(of_flyte, login) and not os.environ.get("GATEKEY_CA_FILE"):
        raise ConfigurationError(
            "`insecure_skip_verify` of flyte.init is not supported: it would send the secret to anyone who answers; "
            "set GATEKEY_CA_FILE to the CA certificate of the server, or pass `ca_cert_file_path` instead",
            code="configuration",
        )
    try:
        made = Client(
            endpoint=endpoint,
            client_id=login["client_id"],
            client_secret=secret,
            # None means the one from the environment.
            ca_file=login.get("ca_cert_file_path"),
            scopes=list(login["scopes"]) if login.get("scopes") else None,
            proxy=login.get("http_proxy_url"),
            user_agent=user_agent,
        )
    finally:
        del login, secret
    _known = (of_flyte, made)
    return made


def _client_of_flyte() -> Any | None:
    # Not imported here: if nothing has imported Flyte, it is not initialized.
    initialize = sys.modules.get("flyte._initialize")
    return getattr(getattr(initialize, "_init_config", None), "client", None)


def _login(of_flyte: Any) -> Mapping[str, Any]:
    """Returns the keyword arguments of Flyte's authenticator."""
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
        # The interceptor that authenticates to a proxy has a command instead of these arguments.
        if "proxy_command" not in kept:
            return kept.get("kwargs", {})
    return {}


def _skips_verification(of_flyte: Any, login: Mapping[str, Any]) -> bool:
    session = getattr(of_flyte, "session_config", None)
    return bool(getattr(session, "insecure_skip_verify", False) or login.get("insecure_skip_verify"))


def _interceptors(of_flyte: Any) -> Iterable[Any]:
    return getattr(getattr(of_flyte, "_channel", None), "_unary_unary_interceptors", None) or ()
