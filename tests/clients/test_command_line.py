"""`flyte create|get|delete api-key`, configured as an admin by a config.yaml."""

import ast
import re
from pathlib import Path

import pytest

from support.gatekey import Credentials, Server, attempt, decoded, run
from support.public_clients import FLYTE, VERSION

# Escape sequences of a terminal, which the command line prints even into a pipe.
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")

# The first generation always draws 120 columns, the other as many as the terminal has.
WIDE = {} if VERSION == "0.1.1" else {"COLUMNS": "500"}


class CommandLine:
    """`flyte -c config.yaml`."""

    def __init__(self, config: Path) -> None:
        self._command = (FLYTE, "-c", config)

    def __call__(self, *arguments: str) -> str:
        return ESCAPES.sub("", run(*self._command, *arguments, env=WIDE))

    def fails(self, *arguments: str) -> str:
        """Runs a command that must fail, and returns its output."""
        done = attempt(*self._command, *arguments, env=WIDE)
        assert done.returncode == 1, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return ESCAPES.sub("", done.stdout + done.stderr)


@pytest.fixture
def flyte(trusted_server: Server, admin_key: Credentials, tmp_path: Path) -> CommandLine:
    """The command line as an admin."""
    secret = tmp_path / "secret"
    secret.write_text(admin_key.client_secret)
    config = tmp_path / "config.yaml"
    config.write_text(
        "admin:\n"
        f"  endpoint: dns:///{trusted_server.endpoint}\n"
        "  authType: ClientSecret\n"
        f"  clientId: {admin_key.client_id}\n"
        f"  clientSecretLocation: {secret}\n"
        f"  caCertFilePath: {trusted_server.ca_file}\n"
    )
    return CommandLine(config)


def key_in(printed: str) -> str:
    """The key that `flyte create api-key` printed, complete and on one line."""
    found = re.search(r'\bFLYTE_API_KEY="([A-Za-z0-9+/]+=*)"', printed)
    assert found, printed
    return found[1]


@pytest.fixture
def key(trusted_server: Server, admin_key: Credentials, name: str) -> Credentials:
    """An existing key."""
    return trusted_server.create(admin_key, name)


def test_create_prints_a_key_on_one_line(flyte: CommandLine, name: str) -> None:
    # The output has a frame; a much longer secret would not fit into one line.
    endpoint, client_id, _, _ = decoded(key_in(flyte("create", "api-key", "--name", name)))

    assert (endpoint, client_id) == ("127.0.0.1", name)


def test_a_printed_key_is_used_from_the_environment(flyte: CommandLine, name: str) -> None:
    key = key_in(flyte("create", "api-key", "--name", name))

    assert name in run(FLYTE, "get", "api-key", name, env={"FLYTE_API_KEY": key})


def test_whoami_prints_the_key(trusted_server: Server, key: Credentials) -> None:
    env = {"FLYTE_API_KEY": key.encoded_credentials}

    assert key.client_id in run(FLYTE, "whoami", env=env)


def test_get_lists_the_keys(flyte: CommandLine, admin_key: Credentials, key: Credentials) -> None:
    listed = flyte("get", "api-key", "--limit", "1000")

    assert key.client_id in listed
    assert admin_key.client_id in listed


def test_get_shows_one_key_without_its_secret(flyte: CommandLine, key: Credentials) -> None:
    # Python syntax, although the client calls it JSON.
    (shown,) = ast.literal_eval(flyte("get", "api-key", key.client_id))

    assert shown["clientId"] == key.client_id
    assert "clientSecret" not in shown


def test_delete_takes_the_key_away(flyte: CommandLine, key: Credentials) -> None:
    assert "Successfully deleted" in flyte("delete", "api-key", key.client_id, "--yes")
    assert key.client_id not in flyte("get", "api-key", "--limit", "1000")


def test_a_deleted_key_fails(flyte: CommandLine, key: Credentials) -> None:
    flyte("delete", "api-key", key.client_id, "--yes")

    done = attempt(FLYTE, "whoami", env={"FLYTE_API_KEY": key.encoded_credentials})
    assert done.returncode == 1, done.stdout
    assert "invalid_client" in done.stdout + done.stderr


def test_create_of_a_name_in_use_fails(flyte: CommandLine, key: Credentials) -> None:
    assert "exists" in flyte.fails("create", "api-key", "--name", key.client_id)


def test_get_of_a_missing_key_fails(flyte: CommandLine) -> None:
    assert "no-such-key" in flyte.fails("get", "api-key", "no-such-key")


def test_delete_of_a_missing_key_fails(flyte: CommandLine) -> None:
    assert "no-such-key" in flyte.fails("delete", "api-key", "no-such-key", "--yes")
