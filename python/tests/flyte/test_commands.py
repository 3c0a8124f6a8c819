"""`flyte create|get|update|rotate|delete api-key`, with each version of Flyte and a real server."""

import ast
import base64
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from environments import Environment

from support.gatekey import BINARY, Credentials, Server, attempt, background

# Terminal escape sequences, which the command line also prints into pipes.
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")

# A line that can be copied: the whole key, as plain text.
EXPORT = re.compile(r'^export FLYTE_API_KEY="([A-Za-z0-9+/]+=*)"$', re.MULTILINE)


class CommandLine:
    """The command `flyte`, with an admin's key in the environment by default."""

    def __init__(self, environment: Environment, env: dict[str, str]) -> None:
        self._environment = environment
        self._env = env

    def attempt(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self._environment.flyte(*arguments, env={**self._env, **env})

    def __call__(self, *arguments: str, **env: str) -> str:
        """Runs a command that must succeed without a warning, and returns its output."""
        done = self.attempt(*arguments, **env)
        assert (done.returncode, done.stderr) == (0, ""), f"{arguments}:\n{done.stdout}{done.stderr}"
        return ESCAPES.sub("", done.stdout)

    def fails(self, *arguments: str, code: int = 1, **env: str) -> str:
        """Runs a command that must fail, and returns its error without the frame."""
        done = self.attempt(*arguments, **env)
        message = ESCAPES.sub("", done.stderr)
        assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return " ".join(re.sub(r"[─│╭╮╰╯]", " ", message).split())


@pytest.fixture
def flyte(flyte_and_ours: Environment, server: Server, admin_key: Credentials) -> CommandLine:
    """The command line, as an admin."""
    env = {"FLYTE_API_KEY": admin_key.encoded_credentials, "GATEKEY_CA_FILE": str(server.ca_file)}
    return CommandLine(flyte_and_ours, env)


@pytest.fixture
def key(server: Server, admin_key: Credentials, name: str) -> Credentials:
    """An existing key."""
    return server.create(admin_key, name)


def shown(server: Server, admin_key: Credentials, client_id: str) -> dict[str, Any]:
    """Returns a key, as the server stores it."""
    printed = server.command(admin_key, "key", "get", client_id, "--output", "json")
    values: dict[str, Any] = json.loads(printed)
    return values


def works(server: Server, encoded_credentials: str) -> bool:
    """Whether a key can log in."""
    env = {"GATEKEY_API_KEY": encoded_credentials, "GATEKEY_CA_FILE": str(server.ca_file)}
    return attempt(BINARY, "token", env=env).returncode == 0


@pytest.mark.parametrize("columns", ["30", "500"])
def test_create_prints_the_key_on_one_line(flyte: CommandLine, server: Server, name: str, columns: str) -> None:
    printed = flyte.attempt("create", "api-key", "--name", name, COLUMNS=columns).stdout

    (encoded,) = EXPORT.findall(printed)
    assert works(server, encoded)


def test_an_ascii_terminal_still_shows_the_key(flyte: CommandLine, server: Server, name: str) -> None:
    (encoded,) = EXPORT.findall(flyte("create", "api-key", "--name", name, PYTHONIOENCODING="ascii"))

    assert works(server, encoded)


def test_create_prints_the_originals_frame(flyte: CommandLine, name: str) -> None:
    printed = flyte("create", "api-key", "--name", f"Build {name}", COLUMNS="120")

    assert "─ API Key Created Successfully ─" in printed
    assert f"│ Client ID: build-{name} " in printed


def test_a_printed_key_with_a_port_works(flyte: CommandLine, name: str) -> None:
    (encoded,) = EXPORT.findall(flyte("create", "api-key", "--name", name, "--role", "admin"))

    assert name in flyte("get", "api-key", name, FLYTE_API_KEY=encoded)


def test_create_sets_role_and_expiry(flyte: CommandLine, server: Server, admin_key: Credentials, name: str) -> None:
    before = datetime.now(timezone.utc)
    flyte("create", "api-key", "--name", name, "--role", "viewer", "--expires-in", "1d12h")

    made = shown(server, admin_key, name)
    assert made["role"] == "viewer"
    expires_at = datetime.fromisoformat(made["expires_at"].replace("Z", "+00:00"))
    assert abs(expires_at - before - timedelta(hours=36)) < timedelta(minutes=2)


def test_no_default_policies_means_no_role(
    flyte: CommandLine, server: Server, admin_key: Credentials, name: str
) -> None:
    flyte("create", "api-key", "--name", name, "--no-default-policies")

    assert server.role(admin_key, name) is None


@pytest.mark.parametrize(("output_format", "read"), [("json-raw", json.loads), ("json", ast.literal_eval)])
def test_json_output_contains_the_encoded_key(
    flyte: CommandLine, server: Server, name: str, output_format: str, read: Any
) -> None:
    (made,) = read(flyte("-of", output_format, "create", "api-key", "--name", name, COLUMNS="30"))

    assert made["clientId"] == name
    assert works(server, made["encodedCredentials"])


@pytest.mark.parametrize("output_format", ["table", "table-simple"])
def test_get_lists_the_keys_in_a_table(flyte: CommandLine, key: Credentials, output_format: str) -> None:
    printed = flyte("-of", output_format, "get", "api-key", "--limit", "1000", COLUMNS="120")

    assert re.search(r"Client_id\W+Name", printed)
    assert re.search(rf"{key.client_id}\W+{key.client_id}", printed)


@pytest.mark.parametrize(("output_format", "read"), [("json-raw", json.loads), ("json", ast.literal_eval)])
def test_get_lists_the_keys_as_json(flyte: CommandLine, key: Credentials, output_format: str, read: Any) -> None:
    listed = read(flyte("-of", output_format, "get", "api-key", "--limit", "1000", COLUMNS="30"))

    assert key.client_id in [entry["clientId"] for entry in listed]


def test_get_lists_keys_up_to_the_limit(flyte: CommandLine, key: Credentials) -> None:
    assert len(json.loads(flyte("-of", "json-raw", "get", "api-key", "--limit", "1"))) == 1


def test_get_reports_an_empty_list(flyte: CommandLine) -> None:
    assert flyte("get", "api-key", "--limit", "0") == "No API keys found.\n"
    assert flyte("-of", "json-raw", "get", "api-key", "--limit", "0") == "[]\n"


@pytest.mark.parametrize(
    ("options", "read"), [((), ast.literal_eval), (("-of", "json-raw"), json.loads)], ids=["table", "json-raw"]
)
def test_get_shows_all_fields_except_the_secret(
    flyte: CommandLine, key: Credentials, options: tuple[str, ...], read: Any
) -> None:
    (seen,) = read(flyte(*options, "get", "api-key", key.client_id, COLUMNS="30"))

    assert seen["clientId"] == key.client_id
    assert "clientSecret" not in seen


def test_names_are_not_interpreted_as_markup(flyte: CommandLine, key: Credentials) -> None:
    flyte("update", "api-key", key.client_id, "--client-name", "[red]nightly[/] [x]")

    assert "[red]nightly[/] [x]" in flyte("get", "api-key", "--limit", "1000", COLUMNS="120")
    assert "'clientName': '[red]nightly[/] [x]'" in flyte("get", "api-key", key.client_id)


def test_update_changes_only_the_given_fields(
    flyte: CommandLine, server: Server, admin_key: Credentials, key: Credentials
) -> None:
    uris = ["https://a.example/callback", "https://b.example/callback"]
    flyte("update", "api-key", key.client_id, "--redirect-uri", uris[0], "--redirect-uri", uris[1])
    flyte("update", "api-key", key.client_id, "--client-name", "Nightly builds")

    updated = shown(server, admin_key, key.client_id)
    assert (updated["redirect_uris"], updated["client_name"]) == (uris, "Nightly builds")


def test_update_without_a_change_is_a_usage_error(flyte: CommandLine, key: Credentials) -> None:
    assert "--client-name or --redirect-uri" in flyte.fails("update", "api-key", key.client_id, code=2)


def test_rotate_with_a_grace_keeps_the_old_secret(flyte: CommandLine, server: Server, key: Credentials) -> None:
    (encoded,) = EXPORT.findall(flyte("rotate", "api-key", key.client_id, "--grace", "24h", COLUMNS="30"))

    assert encoded != key.encoded_credentials
    assert works(server, encoded)
    assert works(server, key.encoded_credentials)


def test_rotate_without_a_grace_asks_first(flyte: CommandLine, server: Server, key: Credentials) -> None:
    assert "Aborted" in flyte.fails("rotate", "api-key", key.client_id)
    assert works(server, key.encoded_credentials)


def test_rotate_without_a_grace_revokes_the_secret(flyte: CommandLine, server: Server, key: Credentials) -> None:
    (encoded,) = EXPORT.findall(flyte("rotate", "api-key", key.client_id, "--yes"))

    assert works(server, encoded)
    assert not works(server, key.encoded_credentials)


def test_help_lists_the_rotate_command(flyte: CommandLine) -> None:
    assert re.search(r"│ rotate +Rotate secrets", flyte("--help", COLUMNS="120"))
    assert "api-key" in flyte("rotate", "--help")


def test_delete_removes_the_key(flyte: CommandLine, server: Server, key: Credentials) -> None:
    assert "✓ Successfully deleted API key: " + key.client_id in flyte("delete", "api-key", key.client_id, "--yes")
    assert not works(server, key.encoded_credentials)


def test_delete_asks_first(flyte: CommandLine, server: Server, key: Credentials) -> None:
    assert "Aborted" in flyte.fails("delete", "api-key", key.client_id)
    assert works(server, key.encoded_credentials)


def test_a_taken_name_is_one_sentence(flyte: CommandLine, key: Credentials) -> None:
    message = flyte.fails("create", "api-key", "--name", key.client_id, COLUMNS="200")

    assert message.startswith(f'Error could not create API key "{key.client_id}": ')
    assert "already exists" in message


@pytest.mark.parametrize(
    "command",
    [
        ("get",),
        ("update", "--client-name", "x"),
        ("rotate", "--yes"),
        ("delete", "--yes"),
    ],
    ids=lambda command: command[0],
)
def test_a_missing_key_is_one_sentence(flyte: CommandLine, command: tuple[str, ...]) -> None:
    verb, *options = command
    message = flyte.fails(verb, "api-key", "no-such-key", *options, COLUMNS="200")

    assert re.fullmatch(r'Error could not \w+ API key "no-such-key": API key no-such-key does not exist', message)


def test_a_key_without_permission_is_reported(
    flyte: CommandLine, server: Server, admin_key: Credentials, key: Credentials
) -> None:
    message = flyte.fails("get", "api-key", FLYTE_API_KEY=key.encoded_credentials, COLUMNS="200")

    assert message.startswith("Error could not list API keys: ")


def test_a_truncated_key_is_reported(flyte: CommandLine) -> None:
    assert "was it copied whole" in flyte.fails("get", "api-key", FLYTE_API_KEY="bm90IGE", COLUMNS="200")


def test_a_missing_server_error_lists_the_places_searched(flyte: CommandLine) -> None:
    assert "FLYTE_API_KEY" in flyte.fails("get", "api-key", FLYTE_API_KEY="", COLUMNS="200")


@pytest.mark.parametrize("span", ["1.5h", "", "99999999999d"])
def test_an_invalid_duration_is_a_usage_error(flyte: CommandLine, name: str, span: str) -> None:
    assert "--expires-in" in flyte.fails("create", "api-key", "--name", name, "--expires-in", span, code=2)


@pytest.fixture
def configured(flyte_and_ours: Environment, server: Server, admin_key: Credentials, tmp_path: Path) -> CommandLine:
    """The command line, with admin and CA from a config.yaml in the directory."""
    secret = tmp_path / "secret"
    secret.write_text(f"{admin_key.client_secret}\n")
    Path("config.yaml").write_text(
        "admin:\n"
        f"  endpoint: dns:///{server.endpoint}\n"
        "  authType: ClientSecret\n"
        f"  clientId: {admin_key.client_id}\n"
        f"  clientSecretLocation: {secret}\n"
        f"  caCertFilePath: {server.ca_file}\n"
    )
    return CommandLine(flyte_and_ours, {})


def test_a_config_file_with_a_secret_works(configured: CommandLine, server: Server, name: str) -> None:
    (encoded,) = EXPORT.findall(configured("-c", "config.yaml", "create", "api-key", "--name", name))

    assert works(server, encoded)


def test_a_key_overrides_the_config_file(
    configured: CommandLine, server: Server, admin_key: Credentials, name: str
) -> None:
    other = server.create(admin_key, name)

    done = configured.attempt("-c", "config.yaml", "get", "api-key", FLYTE_API_KEY=other.encoded_credentials)
    # Unlike the admin in the file, this key may not list keys.
    assert done.returncode == 1


def test_a_secret_stays_with_the_host_of_its_key(flyte: CommandLine) -> None:
    message = flyte.fails("--endpoint", "other.example.com", "get", "api-key", COLUMNS="200")

    assert "the secret in FLYTE_API_KEY is for localhost, so it is not sent to other.example.com" in message


def test_a_port_comes_with_lines_for_flytes_tools(flyte: CommandLine, server: Server, name: str) -> None:
    printed = flyte.attempt("create", "api-key", "--name", name).stdout

    host, port = server.endpoint.split(":")
    assert f"drop the port {port}" in printed
    assert f"--endpoint {server.endpoint}" in printed
    (encoded,) = re.findall(r'^# export FLYTE_API_KEY="(.*)"$', printed, re.MULTILINE)
    assert base64.b64decode(encoded).decode().startswith(f"{host}:{name}:gk_")


def test_a_table_escapes_characters_that_turn_text(flyte_and_ours: Environment) -> None:
    # Servers refuse such names now, but may have older keys.
    printed = flyte_and_ours.run(
        "from gatekey import ApiKey; from gatekey.app_definition_pb2 import App; from gatekey.flyte import commands\n"
        "name = 'a\\u202eb\\x1b[2J\\u2028\\N{ARABIC LETTER ALEF}\\u200cc'\n"
        "print(ascii(dict(commands._Row(ApiKey(App(client_id='ci', client_name=name))).__rich_repr__())['name']))"
    )

    assert ast.literal_eval(printed) == "a\\u{202e}b\\u{1b}[2J\\u{2028}\N{ARABIC LETTER ALEF}\u200cc"


def test_the_endpoint_option_overrides_the_keys_endpoint(flyte: CommandLine, server: Server) -> None:
    assert "admin" in flyte("--endpoint", f"dns:///{server.endpoint}", "get", "api-key", "admin")
    assert "cannot reach" in flyte.fails("--endpoint", "127.0.0.1:1", "get", "api-key", "admin", COLUMNS="200")


@pytest.fixture
def in_the_clear(tmp_path: Path) -> Iterator[Server]:
    """A server without TLS."""
    data_dir = tmp_path / "data"
    options = ("--data-dir", data_dir, "--listen", "127.0.0.1:0", "--plaintext", "--log-format", "json")
    with background(BINARY, "serve", *options) as process:
        serving = json.loads(process.lines_up_to('"serving"')[-1])
        yield Server(url=serving["url"], data_dir=data_dir)


def test_plaintext_must_be_allowed_explicitly(flyte: CommandLine, in_the_clear: Server) -> None:
    key = in_the_clear.init("admin").encoded_credentials

    assert "admin" in flyte("--insecure", "get", "api-key", "admin", FLYTE_API_KEY=key)
    assert "TLS handshake" in flyte.fails("get", "api-key", "admin", FLYTE_API_KEY=key, COLUMNS="200")


def test_a_browser_login_fails_with_a_hint(configured: CommandLine) -> None:
    config = Path("config.yaml")
    lines = config.read_text().replace("ClientSecret\n", "Pkce\n").splitlines()
    config.write_text("\n".join(line for line in lines if "clientSecretLocation" not in line))

    assert "has no client secret" in configured.fails("-c", "config.yaml", "get", "api-key", COLUMNS="200")
