"""The sources of server and credentials, in the documented order."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import gatekey
from calls import Calls
from gatekey import ApiKey
from scripts import run_script
from servers import LoggedServer
from support.gatekey import Credentials


@pytest.fixture(scope="session")
def others(server: LoggedServer, admin_key: Credentials) -> dict[str, Credentials]:
    """More admins, to identify the caller."""
    return {name: server.init(f"of-{name}") for name in ("init", "gatekey", "flyte", "union", "file")}


@pytest.fixture
def caller(server: LoggedServer) -> Callable[[], str]:
    """Makes a call, and returns the client id that the server logs for it."""

    def ask() -> str:
        server.requests()
        next(ApiKey.listall(limit=1))
        return str(server.requests()[-1]["client_id"])

    return ask


def write_config(path: Path, server: LoggedServer, key: Credentials, *, trusting: bool = True) -> None:
    """Writes a configuration file of Flyte, and a file with the secret."""
    path.parent.mkdir(parents=True, exist_ok=True)
    secret = path.with_suffix(".secret")
    secret.write_text(key.client_secret + "\n")
    trust = f"  caCertFilePath: {server.ca_file}\n" if trusting else ""
    path.write_text(
        f"admin:\n  endpoint: dns:///{server.endpoint}\n  authType: ClientSecret\n  clientId: {key.client_id}\n"
        f"  clientSecretLocation: {secret}\n{trust}"
    )


def test_the_sources_have_the_documented_order(
    server: LoggedServer, others: dict[str, Credentials], caller: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In reverse order: each new source takes precedence over the earlier ones, at the next call.
    write_config(Path("config.yaml"), server, others["file"])
    assert caller() == "of-file"
    monkeypatch.setenv("GATEKEY_CA_FILE", str(server.ca_file))
    for place in ("union", "flyte", "gatekey"):
        monkeypatch.setenv(f"{place.upper()}_API_KEY", others[place].encoded_credentials)
        assert caller() == f"of-{place}"
    gatekey.init(api_key=others["init"].encoded_credentials)
    assert caller() == "of-init"


def test_flytes_files_are_searched_in_the_documented_order(
    server: LoggedServer,
    others: dict[str, Credentials],
    admin_key: Credentials,
    caller: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    work = tmp_path / "repository" / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    keys = [admin_key, others["file"]] * 4
    places = [
        tmp_path / "home" / ".flyte" / "config.yaml",
        tmp_path / "home" / ".union" / "config.yaml",
        tmp_path / "flytectl.yaml",
        tmp_path / "uctl.yaml",
        tmp_path / "repository" / ".flyte" / "config.yaml",
        work / ".flyte" / "config.yaml",
        work / "config.yaml",
    ]
    for path, key in zip(places, keys, strict=False):
        write_config(path, server, key)
        if path.parent == tmp_path:
            monkeypatch.setenv(f"{path.stem.upper()}_CONFIG", str(path))
        # Forget the client: files are read again only if a variable or the directory changes.
        monkeypatch.setattr(gatekey.settings, "_of_environment", None)
        assert caller() == key.client_id, path


def test_missing_settings_error_lists_the_places_searched(calls_without_settings: Calls) -> None:
    with pytest.raises(gatekey.ConfigurationError) as caught:
        calls_without_settings.get("ci")
    for place in (
        "gatekey.init",
        "flyte.init",
        "GATEKEY_API_KEY",
        "FLYTE_API_KEY",
        "UNION_API_KEY",
        f"{Path.cwd()}/config.yaml",
        f"{os.environ['HOME']}/.union/config.yaml",
        f"{os.environ['HOME']}/.flyte/config.yaml",
    ):
        assert place in str(caught.value)
    assert (caught.value.code, caught.value.request_id) == ("configuration", None)


@pytest.fixture(params=["plain", "aio"])
def calls_without_settings(request: pytest.FixtureRequest, server: LoggedServer) -> Calls:
    """The operations, without any settings."""
    return Calls(awaited=request.param == "aio")


def test_each_call_uses_its_own_identity(
    calls: Calls, server: LoggedServer, others: dict[str, Credentials], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.requests()
    for name in ("flyte", "union", "flyte"):
        monkeypatch.setenv("FLYTE_API_KEY", others[name].encoded_credentials)
        calls.details("admin")
    made = [request["client_id"] for request in server.requests() if request["path"].endswith("/Get")]
    assert made == ["of-flyte", "of-union", "of-flyte"]


def test_the_private_ca_covers_the_login(server: LoggedServer, admin_key: Credentials) -> None:
    # Only `ca_file` names the CA, so the login fails unless it uses it as well.
    assert not {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"} & set(os.environ)
    printed = run_script(
        f"""
        import gatekey
        gatekey.init("https://{server.endpoint}", client_id="admin", client_secret={admin_key.client_secret!r},
                     ca_file={str(server.ca_file)!r})
        print(gatekey.ApiKey.get("admin").client_id)
        """
    )
    assert printed.strip() == "admin"


def test_an_untrusted_certificate_is_reported(
    calls: Calls, server: LoggedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEKEY_CA_FILE")
    server.requests()
    with pytest.raises(gatekey.UnavailableError, match="certificate"):
        calls.get("admin")
    assert server.requests() == []


@pytest.mark.parametrize("form", ["https://{}", "dns:///{}", "{}", "HTTPS://{}", "https://{}/"])
def test_every_notation_means_the_same_endpoint(
    server: LoggedServer, admin_key: Credentials, name: str, form: str
) -> None:
    gatekey.init(
        form.format(server.endpoint),
        client_id="admin",
        client_secret=admin_key.client_secret,
        ca_file=server.ca_file,
    )
    key = ApiKey.create(name)
    assert key.encoded_credentials
    gatekey.init(api_key=key.encoded_credentials, ca_file=str(server.ca_file))
    assert ApiKey.details(name).client_id == name


def test_a_given_endpoint_overrides_the_keys_endpoint(server: LoggedServer, admin_key: Credentials) -> None:
    elsewhere = "MTI3LjAuMC4xOjE6YWRtaW46" + "Z2tfbm9uZTpOb25l"  # 127.0.0.1:1, admin, gk_none, no organization.
    gatekey.init(server.url, api_key=elsewhere, ca_file=server.ca_file)
    with pytest.raises(gatekey.UnauthenticatedError):
        ApiKey.get("admin")


def test_a_found_file_is_named_with_its_server(
    server: LoggedServer, admin_key: Credentials, capfd: pytest.CaptureFixture[str]
) -> None:
    write_config(Path("config.yaml"), server, admin_key)
    ApiKey.get("admin")
    ApiKey.get("admin")
    printed = capfd.readouterr().err
    assert printed.count("config.yaml") == 1
    assert server.endpoint in printed


def test_a_given_secret_needs_a_named_endpoint(server: LoggedServer, admin_key: Credentials) -> None:
    write_config(Path("config.yaml"), server, admin_key)
    with pytest.raises(gatekey.ConfigurationError, match="found by searching"):
        gatekey.init(client_id="admin", client_secret="the-real-secret")


def test_a_found_file_names_only_flytes_variables(server: LoggedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-real-secret")
    Path("config.yaml").write_text(
        f"admin: {{endpoint: '{server.endpoint}', clientId: ci, clientSecretEnvVar: AWS_SECRET_ACCESS_KEY}}"
    )
    server.requests()
    with pytest.raises(gatekey.ConfigurationError, match="AWS_SECRET_ACCESS_KEY"):
        ApiKey.get("admin")
    assert server.requests() == []


def test_a_secret_stays_with_the_host_of_its_key(admin: Credentials) -> None:
    with pytest.raises(gatekey.ConfigurationError, match=r"the secret in FLYTE_API_KEY is for 127\.0\.0\.1"):
        gatekey.init("https://other.example.com")


def test_plain_http_needs_a_loopback_address() -> None:
    gatekey.init("http://127.0.0.1:1", client_id="a", client_secret="b")
    for host in ("localhost", "127.0.0.1.example.com", "10.0.0.1"):
        with pytest.raises(gatekey.ConfigurationError, match="plaintext=True"):
            gatekey.init(f"http://{host}:1", client_id="a", client_secret="b")
        gatekey.init(f"http://{host}:1", client_id="a", client_secret="b", plaintext=True)


def test_white_space_around_a_secret_is_ignored(server: LoggedServer, admin_key: Credentials) -> None:
    gatekey.init(server.url, client_id="admin", client_secret=f" {admin_key.client_secret}\r\n", ca_file=server.ca_file)
    assert ApiKey.get("admin").client_id == "admin"


@pytest.mark.parametrize(
    ("key", "saying"), [("gk_secret", "it is a client secret"), ("'aDpjaTpzOk5vbmU='", "quotation marks")]
)
def test_a_likely_mistake_is_named(key: str, saying: str) -> None:
    with pytest.raises(gatekey.ConfigurationError, match=saying):
        gatekey.init(api_key=key)


def test_a_proxy_is_used(admin: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://me:s3cret@127.0.0.1:1")
    # A loopback server is reached directly.
    assert ApiKey.get("admin").client_id == "admin"
    gatekey.init("https://keys.example.com", client_id="a", client_secret="b", retries=0)
    with pytest.raises(gatekey.UnavailableError, match=r"the proxy http://127.0.0.1:1 \(from ALL_PROXY\)") as caught:
        ApiKey.get("admin")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ({"client_id": "a"}, "client_secret"),
        ({"client_secret": "a"}, "client_id"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_invalid_values_are_refused(options: dict[str, object], saying: str) -> None:
    with pytest.raises(ValueError, match=saying):
        gatekey.init("h:1", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["api_key", "client_secret"])
@pytest.mark.parametrize(("secret", "error"), [("gk_sec\ud800ret", ValueError), (b"gk_secret", TypeError)])
def test_an_invalid_secret_error_omits_the_secret(name: str, secret: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name) as caught:
        gatekey.init("h:1", **{"client_id": "a", name: secret})  # type: ignore[arg-type]
    raised: BaseException | None = caught.value
    while raised is not None:
        assert "gk_" not in f"{raised!r} {vars(raised)} {raised.args}"
        raised = raised.__context__


def test_a_bare_string_of_scopes_is_refused() -> None:
    with pytest.raises(TypeError, match="scopes"):
        gatekey.init("h:1", client_id="a", client_secret="b", scopes="all")


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "n0tBase64!"},
        {"endpoint": "ftp://h", "client_id": "a", "client_secret": "b"},
        {"endpoint": "h:1", "client_id": "a", "client_secret": "b", "ca_file": "/no/such/file"},
        {"endpoint": "h:1"},
    ],
)
def test_invalid_settings_are_refused_without_a_request(options: dict[str, str]) -> None:
    with pytest.raises(gatekey.ConfigurationError):
        gatekey.init(**options)


def test_a_failed_init_keeps_the_old_settings(server: LoggedServer, admin_key: Credentials) -> None:
    gatekey.init(api_key=admin_key.encoded_credentials, ca_file=server.ca_file)
    with pytest.raises(gatekey.ConfigurationError):
        gatekey.init(api_key="n0tBase64!")
    assert ApiKey.get("admin").client_id == "admin"


def test_flyte_is_not_needed(admin: Credentials) -> None:
    printed = run_script(
        """
        import sys
        sys.modules["flyte"] = None  # Importing it fails.
        from gatekey import ApiKey
        print(ApiKey.get("admin").client_id)
        """
    )
    assert printed.strip() == "admin"
