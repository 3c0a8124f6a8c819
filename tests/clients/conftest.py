"""One server for the whole suite, and the public clients, logged in as an admin."""

import uuid
from collections.abc import Iterator

import pytest

from support.gatekey import Credentials, Server
from support.public_clients import VERSION, Calls, log_in


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Deselected, not skipped: a test for the other generation is not missing here.
    def is_for_us(item: pytest.Item) -> bool:
        return all(marker.args == (VERSION,) for marker in item.iter_markers("generation"))

    left_out = [item for item in items if not is_for_us(item)]
    items[:] = [item for item in items if is_for_us(item)]
    config.hook.pytest_deselected(items=left_out)


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
