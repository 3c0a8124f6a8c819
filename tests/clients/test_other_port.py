"""A server on another port than 443, which a public client's key cannot name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gatekey import BINARY, Server, decoded, run, serve
from support.public_clients import FLYTE


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Server]:
    """A server on its own port."""
    with serve(tmp_path / "data", listen="127.0.0.1:0") as server:
        yield server


def test_a_key_without_port_works_with_an_endpoint(elsewhere: Server, name: str) -> None:
    admin = elsewhere.init("admin")
    env = {"GATEKEY_API_KEY": admin.encoded_credentials, "GATEKEY_CA_FILE": str(elsewhere.ca_file)}
    lines = run(BINARY, "key", "create", name, "--output", "env", env=env).splitlines()
    (key,) = (line.removeprefix("export FLYTE_API_KEY=") for line in lines if "FLYTE_API_KEY" in line)
    assert decoded(key)[:2] == ("127.0.0.1", name)

    env = {**elsewhere.trust, "FLYTE_API_KEY": key}
    assert name in run(FLYTE, "--endpoint", elsewhere.endpoint, "get", "api-key", name, env=env)
