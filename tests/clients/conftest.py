"""One server for the whole suite, with Flyte behind its gate, and the public clients, logged in as
an admin."""

import uuid
from collections.abc import Iterator

import pytest

from support.flyte_stand_in import Flyte, flyte
from support.gatekey import Credentials, Server, serve
from support.public_clients import VERSION, Calls, log_in


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Deselected, not skipped: a test for the other generation is not missing here.
    def is_for_us(item: pytest.Item) -> bool:
        return all(marker.args == (VERSION,) for marker in item.iter_markers("generation"))

    left_out = [item for item in items if not is_for_us(item)]
    items[:] = [item for item in items if is_for_us(item)]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def backend() -> Iterator[Flyte]:
    """Flyte, behind the gate of the server."""
    with flyte() as running:
        yield running


@pytest.fixture(scope="session")
def server(backend: Flyte, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on port 443, the only one that works with the public clients' keys."""
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with serve(data_dir, listen="127.0.0.1:443", upstream=backend.url) as running:
        yield running


@pytest.fixture(scope="session")
def trusted_server(server: Server) -> Iterator[Server]:
    """The server, trusted by this process.

    For the whole session: gRPC reads its roots once, when it first connects.
    """
    with pytest.MonkeyPatch.context() as environment:
        for name, value in server.trust.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def admin_key(trusted_server: Server) -> Credentials:
    return trusted_server.init("admin")


@pytest.fixture
def admin(admin_key: Credentials) -> Credentials:
    """The admin's key, which the client uses when the test begins."""
    log_in(admin_key.encoded_credentials)
    return admin_key


@pytest.fixture
def name() -> str:
    """A name that no other test uses. It is its own client id."""
    return f"key-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["plain", "aio"])
def calls(request: pytest.FixtureRequest, admin: Credentials) -> Calls:
    """`ApiKey`'s methods in each of their two forms, used by an admin."""
    return Calls(awaited=request.param == "aio")
