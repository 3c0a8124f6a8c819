"""`union create|get|delete api-key admin`, the command line of the generation before flyteplugins-union."""

import re
import sys
from pathlib import Path

import pytest

from support.gatekey import Credentials, Server, attempt, decoded, run

UNION = Path(sys.executable).parent / "union"


@pytest.fixture(scope="session")
def admin_key(server: Server) -> Credentials:
    return server.init("admin")


class CommandLine:
    """`union`, with a key in the environment."""

    def __init__(self, server: Server, encoded_credentials: str) -> None:
        # This generation's token request reads a different variable.
        bundle = server.trust["SSL_CERT_FILE"]
        self._env = {**server.trust, "REQUESTS_CA_BUNDLE": bundle, "UNION_API_KEY": encoded_credentials}

    def __call__(self, *arguments: str) -> str:
        return run(UNION, *arguments, env=self._env)

    def fails(self, *arguments: str) -> str:
        """Runs a command that must fail, and returns its output."""
        done = attempt(UNION, *arguments, env=self._env)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr


@pytest.fixture
def union(server: Server, admin_key: Credentials) -> CommandLine:
    """The command line as an admin."""
    return CommandLine(server, admin_key.encoded_credentials)


def test_create_prints_a_key(union: CommandLine) -> None:
    printed = union("create", "api-key", "admin", "--name", "created")

    found = re.search(r'export UNION_API_KEY="([A-Za-z0-9+/]+=*)"', printed)
    assert found, printed
    endpoint, client_id, _, organization = decoded(found[1])
    assert (endpoint, client_id, organization) == ("127.0.0.1", "created", "None")


def test_get_lists_the_keys(union: CommandLine, server: Server, admin_key: Credentials) -> None:
    # More than the twenty that it requests per page.
    names = [f"listed-{number}" for number in range(25)]
    for name in names:
        server.create(admin_key, name)

    printed = union("get", "api-key", "admin")
    assert all(re.search(rf"\b{name}\b", printed) for name in names), printed


def test_delete_takes_the_key_away(union: CommandLine, server: Server, admin_key: Credentials) -> None:
    server.create(admin_key, "deleted")

    assert "Deleted" in union("delete", "api-key", "admin", "--name", "deleted")
    assert "deleted" not in union("get", "api-key", "admin")


def test_only_an_admin_can_list_keys(server: Server, admin_key: Credentials) -> None:
    contributor = server.create(admin_key, "contributor")

    printed = CommandLine(server, contributor.encoded_credentials).fails("get", "api-key", "admin")
    assert "PERMISSION_DENIED" in printed
