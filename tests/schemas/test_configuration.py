"""The JSON Schema of the configuration, checked by a validator."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.gatekey import BINARY, run


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """A validator for the schema that `gatekey config schema` prints."""
    schema = json.loads(run(BINARY, "config", "schema"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"server": {}, "tls": {}, "tokens": {}, "keys": {}, "limits": {}, "log": {}, "traces": {}},
        {
            "server": {
                "listen": "0.0.0.0:443",
                "public_url": "https://keys.example.com",
                "organization": "acme",
            }
        },
        {"tls": {"plaintext": True}, "server": {"trusted_proxies": ["10.0.0.7", "::1"]}},
        {"keys": {"signing_algorithm": "EdDSA", "signing_key_max_age_seconds": 7_776_000}},
        {"keys": {"signing_key_max_age_seconds": 0}},
        {"tokens": {"lifetime_seconds": 60, "audiences": ["https://a.example.com", "b"]}},
        {"gate": {"rules": {"/a.B/C": "any-key", "/grafana/*": "read"}, "internal_services": True}},
        {"log": {"format": "json"}, "traces": {"endpoint": "http://localhost:4318", "sample_ratio": 0.5}},
    ],
)
def test_a_correct_configuration_is_valid(
    validator: Draft202012Validator, configuration: dict[str, Any]
) -> None:
    validator.validate(configuration)


@pytest.mark.parametrize(
    "configuration",
    [
        {"lisen": "127.0.0.1:1"},
        # A name from before there were sections.
        {"listen": "127.0.0.1:1"},
        {"server": {"lisen": "127.0.0.1:1"}},
        {"server": {"listen": 8443}},
        {"server": {"listen": None}},
        {"server": None},
        {"tls": {"plaintext": "yes"}},
        {"server": {"organization": "a b"}},
        {"keys": {"signing_algorithm": "none"}},
        {"keys": {"signing_key_max_age_seconds": 1}},
        {"keys": {"signing_key_max_age_seconds": 3599}},
        {"tokens": {"lifetime_seconds": 86_401}},
        {"tokens": {"audiences": []}},
        {"tokens": {"audiences": "https://a.example.com"}},
        {"tokens": {"authorization_metadata_key": "Authorization"}},
        {"log": {"format": "xml"}},
        {"traces": {"sample_ratio": 2}},
        {"gate": {"rules": {"grafana/*": "read"}}},
        {"gate": {"rules": {"/grafana/*": "reader"}}},
        {"gate": {"rules": ["/grafana/*"]}},
    ],
)
def test_an_incorrect_configuration_is_invalid(
    validator: Draft202012Validator, configuration: dict[str, Any]
) -> None:
    assert not validator.is_valid(configuration)
