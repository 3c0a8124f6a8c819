"""Calls use the settings of `flyte.init`, with each supported version of Flyte."""

import sys
from collections.abc import Iterator
from pathlib import Path

import flyte
import flyte._initialize
import pytest

import gatekey
from gatekey import ApiKey
from servers import LoggedServer
from support.gatekey import Credentials, Server, serve


@pytest.fixture(autouse=True)
def not_initialized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resets `flyte.init` after each test."""
    monkeypatch.setattr(flyte._initialize, "_init_config", None)


def init_with_secret(server: Server, key: Credentials, **options: object) -> None:
    """Initializes Flyte with a client secret."""
    flyte.init(
        endpoint=f"dns:///{server.endpoint}",
        auth_type="ClientSecret",
        client_id=key.client_id,
        client_credentials_secret=key.client_secret,
        ca_cert_file_path=str(server.ca_file),
        **options,
    )


def caller(server: LoggedServer) -> str:
    """Returns the client id of the last caller."""
    server.requests()
    next(ApiKey.listall())
    return str(server.requests()[-1]["client_id"])


def test_flytes_client_secret_and_ca_are_used(server: LoggedServer, admin_key: Credentials) -> None:
    init_with_secret(server, admin_key)
    assert caller(server) == "admin"


def test_flyte_takes_precedence_over_the_environment(server: LoggedServer, admin: Credentials, name: str) -> None:
    init_with_secret(server, server.init(name))
    assert caller(server) == name


def test_gatekey_init_takes_precedence_over_flyte(server: LoggedServer, admin: Credentials, name: str) -> None:
    init_with_secret(server, server.init(name))
    gatekey.init(api_key=admin.encoded_credentials)
    assert caller(server) == "admin"


def test_initializing_flyte_again_changes_the_caller(server: LoggedServer, admin_key: Credentials, name: str) -> None:
    init_with_secret(server, admin_key)
    assert caller(server) == "admin"
    init_with_secret(server, server.init(name))
    assert caller(server) == name


def test_flyte_initialized_from_a_file_is_used(server: LoggedServer, admin_key: Credentials, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(admin_key.client_secret)
    config = tmp_path / "elsewhere.yaml"
    config.write_text(
        f"admin:\n  endpoint: dns:///{server.endpoint}\n  authType: ClientSecret\n  clientId: admin\n"
        f"  clientSecretLocation: {secret}\n  caCertFilePath: {server.ca_file}\n"
    )
    flyte.init_from_config(str(config))
    assert caller(server) == "admin"


def test_skipped_verification_is_refused(
    server: LoggedServer, admin_key: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_with_secret(server, admin_key, insecure_skip_verify=True)
    with pytest.raises(gatekey.ConfigurationError, match="insecure_skip_verify"):
        ApiKey.get("admin")
    monkeypatch.setenv("GATEKEY_CA_FILE", str(server.ca_file))
    assert caller(server) == "admin"


def test_another_login_of_flyte_is_refused(server: LoggedServer, admin: Credentials) -> None:
    flyte.init(endpoint=f"dns:///{server.endpoint}", ca_cert_file_path=str(server.ca_file))
    with pytest.raises(gatekey.ConfigurationError, match=r"flyte\.init has no client secret"):
        ApiKey.get("admin")


def test_gatekey_api_key_overrides_another_flyte_login(
    server: LoggedServer, admin: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    flyte.init(endpoint=f"dns:///{server.endpoint}", ca_cert_file_path=str(server.ca_file))
    monkeypatch.setenv("GATEKEY_API_KEY", admin.encoded_credentials)
    assert caller(server) == "admin"


def test_an_uninitialized_flyte_is_ignored(server: LoggedServer, admin: Credentials) -> None:
    assert "flyte._initialize" in sys.modules
    assert caller(server) == "admin"


def test_flyte_without_an_endpoint_is_ignored(server: LoggedServer, admin: Credentials) -> None:
    flyte.init(project="flytesnacks")
    assert caller(server) == "admin"


class TestAnEncodedKey:
    """Flyte's classes cannot read a key whose endpoint has a port, so the port is 443."""

    @pytest.fixture(scope="class")
    def on_443(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
        with serve(tmp_path_factory.mktemp("on-443") / "data", listen="127.0.0.1:443") as running:
            yield running

    def test_a_secret_given_to_flyte_is_used(self, on_443: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        key = on_443.init("by-flyte")
        flyte.init_from_api_key(key.encoded_credentials)
        monkeypatch.setenv("GATEKEY_CA_FILE", str(on_443.ca_file))
        assert ApiKey.get("by-flyte").client_id == "by-flyte"
