"""The JSON Schema of the configuration, by a validator of JSON Schema."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.gatekey import BINARY, run


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """What `gatekey config schema` prints."""
    schema = json.loads(run(BINARY, "config", "schema"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"listen": "0.0.0.0:443", "public_url": "https://keys.example.com", "organization": "acme"},
        {"plaintext": True, "trusted_proxies": ["10.0.0.7", "::1"]},
        {"signing_algorithm": "EdDSA", "signing_key_max_age_seconds": 7_776_000},
        {"token_lifetime_seconds": 60, "audiences": ["https://a.example.com", "b"]},
    ],
)
def test_a_good_configuration_is_valid(
    validator: Draft202012Validator, configuration: dict[str, Any]
) -> None:
    validator.validate(configuration)


@pytest.mark.parametrize(
    "configuration",
    [
        {"lisen": "127.0.0.1:1"},
        {"listen": 8443},
        {"listen": None},
        {"plaintext": "yes"},
        {"organization": "a b"},
        {"signing_algorithm": "none"},
        {"signing_key_max_age_seconds": 3599},
        {"token_lifetime_seconds": 86_401},
        {"audiences": []},
        {"audiences": "https://a.example.com"},
        {"authorization_metadata_key": "Authorization"},
    ],
)
def test_a_bad_configuration_is_not_valid(
    validator: Draft202012Validator, configuration: dict[str, Any]
) -> None:
    assert not validator.is_valid(configuration)
