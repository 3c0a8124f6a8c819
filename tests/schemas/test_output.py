"""The JSON Schema of keys, checked by a validator against what the commands print."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.gatekey import REPOSITORY, Credentials, Server, serve

SCHEMA = REPOSITORY / "docs" / "reference" / "output.schema.json"
WITH_SECRET = {"client_secret", "endpoint", "encoded_credentials", "ca_file"}


def validator(*, with_secret: bool) -> Draft202012Validator:
    """A validator for a key that refuses what the schema does not describe."""
    schema: dict[str, Any] = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    if not with_secret:
        schema["required"] = [name for name in schema["required"] if name not in WITH_SECRET]
        schema["properties"] = {
            name: member for name, member in schema["properties"].items() if name not in WITH_SECRET
        }
    schema["additionalProperties"] = False
    schema["$defs"]["KeySecret"]["additionalProperties"] = False
    assert set(schema["properties"]) == set(schema["required"]), "no member is left out"
    return Draft202012Validator(schema)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path / "data", listen="127.0.0.1:0") as server:
        yield server


def test_printed_keys_match_the_schema(server: Server) -> None:
    admin: Credentials = server.init("admin")

    def printed(*arguments: str) -> Any:
        return json.loads(server.command(admin, "key", *arguments, "--output", "json"))

    for key in (
        printed("create", "ci", "--expires-in", "1d"),
        printed("create", "bare", "--no-role"),
        printed("rotate", "ci", "--grace", "1h"),
    ):
        validator(with_secret=True).validate(key)
    for key in (
        printed("get", "ci"),
        printed("disable", "bare"),
        printed("enable", "bare"),
        printed("update", "ci", "--role", "verifier"),
        *printed("list"),
    ):
        validator(with_secret=False).validate(key)
