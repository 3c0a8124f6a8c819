"""Where calls go and as whom: the places are asked in the documented order."""

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
    """More admins, to tell who makes a call."""
    return {name: server.init(f"of-{name}") for name in ("init", "gatekey", "flyte", "union", "file")}


@pytest.fixture
def caller(server: LoggedServer) -> Callable[[], str]:
    """Makes a call; gives the client id of whom the server took for its caller."""

    def ask() -> str:
        server.requests()
        next(ApiKey.listall(limit=1))
        return str(server.requests()[-1]["client_id"])

    return ask


def write_config(path: Path, server: LoggedServer, key: Credentials, *, trusting: bool = True) -> None:
    """A file as Flyte has it, with the secret beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    secret = path.with_suffix(".secret")
    secret.write_text(key.client_secret + "\n")
    trust = f"  caCertFilePath: {server.ca_file}\n" if trusting else ""
    path.write_text(
        f"admin:\n  endpoint: dns:///{server.endpoint}\n  authType: ClientSecret\n  clientId: {key.client_id}\n"
        f"  clientSecretLocation: {secret}\n{trust}"
    )


def test_the_places_are_asked_in_the_documented_order(
    server: LoggedServer, others: dict[str, Credentials], caller: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # From the last to the first: each beats those before it, between one call and the next.
    write_config(Path("config.yaml"), server, others["file"])
    assert caller() == "of-file"
    monkeypatch.setenv("GATEKEY_CA_FILE", str(server.ca_file))
    for place in ("union", "flyte", "gatekey"):
        monkeypatch.setenv(f"{place.upper()}_API_KEY", others[place].encoded_credentials)
        assert caller() == f"of-{place}"
    gatekey.init(api_key=others["init"].encoded_credentials)
    assert caller() == "of-init"


def test_the_files_of_flyte_are_searched_in_the_documented_order(
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
        # The working directory is looked at anew by a new process alone, as long as no variable changes.
        monkeypatch.setattr(gatekey.settings, "_of_environment", None)
        assert caller() == key.client_id, path


def test_without_any_the_error_says_what_was_tried(calls_without_settings: Calls) -> None:
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
    """The operations, where nothing says whom to call."""
    return Calls(awaited=request.param == "aio")


def test_the_identity_of_the_last_call_is_never_used_for_the_next(
    calls: Calls, server: LoggedServer, others: dict[str, Credentials], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.requests()
    for name in ("flyte", "union", "flyte"):
        monkeypatch.setenv("FLYTE_API_KEY", others[name].encoded_credentials)
        calls.details("admin")
    made = [request["client_id"] for request in server.requests() if request["path"].endswith("/Get")]
    assert made == ["of-flyte", "of-union", "of-flyte"]


def test_the_private_ca_covers_the_login(server: LoggedServer, admin_key: Credentials) -> None:
    # A process that is told of the CA by us alone: were the login to trust something else, it would fail.
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


def test_without_the_ca_nothing_is_sent_and_the_error_names_the_certificate(
    calls: Calls, server: LoggedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEKEY_CA_FILE")
    server.requests()
    with pytest.raises(gatekey.UnavailableError, match="certificate"):
        calls.get("admin")
    assert server.requests() == []


@pytest.mark.parametrize("form", ["https://{}", "dns:///{}", "{}", "http://{}", "https://{}/"])
def test_every_way_to_write_the_endpoint_is_the_same_one(
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


def test_the_endpoint_given_beats_that_of_the_key(server: LoggedServer, admin_key: Credentials) -> None:
    elsewhere = "MTI3LjAuMC4xOjE6YWRtaW46" + "Z2tfbm9uZTpOb25l"  # 127.0.0.1:1, admin, gk_none, no organization.
    gatekey.init(server.url, api_key=elsewhere, ca_file=server.ca_file)
    with pytest.raises(gatekey.UnauthenticatedError):
        ApiKey.get("admin")


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
def test_values_that_make_no_sense_are_refused(options: dict[str, object], saying: str) -> None:
    with pytest.raises(ValueError, match=saying):
        gatekey.init("h:1", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["api_key", "client_secret"])
@pytest.mark.parametrize(("secret", "error"), [("gk_sec\ud800ret", ValueError), (b"gk_secret", TypeError)])
def test_a_secret_that_is_no_text_is_refused_without_it(name: str, secret: object, error: type[Exception]) -> None:
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
def test_settings_that_cannot_be_used_are_refused_before_any_call(options: dict[str, str]) -> None:
    with pytest.raises(gatekey.ConfigurationError):
        gatekey.init(**options)


def test_a_failed_init_leaves_the_settings_before_it(server: LoggedServer, admin_key: Credentials) -> None:
    gatekey.init(api_key=admin_key.encoded_credentials, ca_file=server.ca_file)
    with pytest.raises(gatekey.ConfigurationError):
        gatekey.init(api_key="n0tBase64!")
    assert ApiKey.get("admin").client_id == "admin"


def test_flyte_is_not_needed(admin: Credentials) -> None:
    printed = run_script(
        """
        import sys
        sys.modules["flyte"] = None  # To import it fails.
        from gatekey import ApiKey
        print(ApiKey.get("admin").client_id)
        """
    )
    assert printed.strip() == "admin"
