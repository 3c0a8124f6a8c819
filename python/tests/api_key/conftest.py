"""Fixtures: one server for the suite, and an admin's key for it in the environment."""

import importlib.util
import uuid
from collections.abc import Iterator

import pytest

import gatekey.settings
from calls import Calls
from servers import LoggedServer, SilentServer, serve_and_log, serve_silence
from support.gatekey import Credentials

# Ignored rather than skipped, because a missing optional package is not a gap in the tests.
_NEEDED = {"initialized_flyte": "flyte", "notebook": "nbclient"}
collect_ignore = [folder for folder, module in _NEEDED.items() if not importlib.util.find_spec(module)]


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resets `gatekey.init` after each test."""
    monkeypatch.setattr(gatekey.settings, "_given", None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedServer]:
    """A server on a free port, with its own CA."""
    with serve_and_log(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def admin_key(server: LoggedServer) -> Credentials:
    return server.init("admin")


@pytest.fixture
def admin(server: LoggedServer, admin_key: Credentials, monkeypatch: pytest.MonkeyPatch) -> Credentials:
    """The admin's key, set in the environment. Only Gatekey's variable names the CA."""
    monkeypatch.setenv("FLYTE_API_KEY", admin_key.encoded_credentials)
    monkeypatch.setenv("GATEKEY_CA_FILE", str(server.ca_file))
    return admin_key


@pytest.fixture
def name() -> str:
    """A name that no other test uses, which is also its client id."""
    return f"key-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["plain", "aio"])
def calls(request: pytest.FixtureRequest, admin: Credentials) -> Calls:
    """The operations of `ApiKey` in each form, with the admin's key."""
    return Calls(awaited=request.param == "aio")


@pytest.fixture
def silence() -> Iterator[SilentServer]:
    """A server that accepts connections and never responds."""
    with serve_silence() as running:
        yield running
