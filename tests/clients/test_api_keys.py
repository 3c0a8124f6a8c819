"""`ApiKey`: create, get, listall, update and delete, called plainly and awaited."""

import json

import pytest

from support.gatekey import Credentials, Server, decoded
from support.public_clients import Calls, log_in, refused

NO_SUCH_KEY = "no-such-key"


def test_a_created_key_contains_everything_clients_need(calls: Calls, name: str) -> None:
    key = calls.create(name)

    assert key.client_id == key.client_name == name
    assert decoded(key.encoded_credentials) == ("127.0.0.1", name, key.client_secret, "None")


def test_the_client_id_is_derived_from_the_name(calls: Calls, name: str) -> None:
    key = calls.create(f"Nightly build, {name}")

    assert key.client_id == f"nightly-build-{name}"


def test_a_created_key_is_a_contributor(
    calls: Calls, trusted_server: Server, admin: Credentials, name: str
) -> None:
    calls.create(name)

    assert trusted_server.role(admin, name) == "contributor"


@pytest.mark.generation("0.19.1")
def test_a_key_without_default_policies_has_no_role(
    calls: Calls, trusted_server: Server, admin: Credentials, name: str
) -> None:
    calls.create(name, skip_default_policy_assignments=True)

    assert trusted_server.role(admin, name) is None


def test_redirect_uris_are_stored(calls: Calls, name: str) -> None:
    uris = ["https://ci.example.com/callback", "http://localhost:9000/callback"]
    calls.create(name, redirect_uris=uris)

    assert list(calls.get(name).pb2.redirect_uris) == uris


def test_an_http_redirect_uri_is_refused(calls: Calls, name: str) -> None:
    with refused("INVALID_ARGUMENT", saying="redirect_uris"):
        calls.create(name, redirect_uris=["http://ci.example.com/callback"])


def test_get_returns_the_created_key(calls: Calls, name: str) -> None:
    created = calls.create(name).pb2
    created.client_secret = ""

    assert calls.get(name).pb2 == created


def test_listall_contains_the_created_key(calls: Calls, name: str) -> None:
    calls.create(name)

    assert name in [key.client_id for key in calls.listall(limit=1000)]


def test_listall_respects_its_limit(calls: Calls, name: str) -> None:
    for number in range(3):
        calls.create(f"{name}-{number}")

    assert len(calls.listall(limit=2)) == 2


def test_a_deleted_key_is_gone(calls: Calls, name: str) -> None:
    calls.create(name)
    calls.delete(name)

    with refused("NOT_FOUND", saying=name):
        calls.get(name)
    assert name not in [key.client_id for key in calls.listall(limit=1000)]


@pytest.mark.generation("0.19.1")
def test_update_changes_only_the_given_fields(calls: Calls, name: str) -> None:
    before = calls.create(name, redirect_uris=["https://ci.example.com/callback"]).pb2
    updated = calls.update(name, client_name="Nightly build").pb2

    before.client_name = "Nightly build"
    before.client_secret = ""
    assert updated == before
    assert calls.get(name).pb2 == before


@pytest.mark.generation("0.19.1")
def test_update_replaces_redirect_uris(calls: Calls, name: str) -> None:
    calls.create(name)
    calls.update(name, redirect_uris=["https://ci.example.com/callback"])

    assert list(calls.get(name).pb2.redirect_uris) == ["https://ci.example.com/callback"]


@pytest.mark.generation("0.19.1")
def test_update_keeps_the_secret_valid(calls: Calls, name: str) -> None:
    key = calls.create(name)
    calls.update(name, client_name="Nightly build")

    log_in(key.encoded_credentials)
    assert calls.get(name).client_name == "Nightly build"


@pytest.mark.generation("0.19.1")
def test_update_of_a_missing_key_is_not_found(calls: Calls) -> None:
    with refused("NOT_FOUND", saying=NO_SUCH_KEY):
        calls.update(NO_SUCH_KEY, client_name="Nightly build")


@pytest.mark.generation("0.1.1")
def test_update_fails_inside_the_client(calls: Calls, name: str) -> None:
    # Before it sends the update, this generation copies a field that its own message does not have.
    # No server can fix that; the test shows that it does no harm.
    calls.create(name)

    with pytest.raises(AttributeError, match="consent_method"):
        calls.update(name, client_name="Nightly build")
    assert calls.get(name).client_name == name


def test_a_name_in_use_already_exists(calls: Calls, name: str) -> None:
    calls.create(name)

    with refused("ALREADY_EXISTS", saying=name):
        calls.create(name)


def test_get_of_a_missing_key_is_not_found(calls: Calls) -> None:
    with refused("NOT_FOUND", saying=NO_SUCH_KEY):
        calls.get(NO_SUCH_KEY)


def test_delete_of_a_missing_key_is_not_found(calls: Calls) -> None:
    with refused("NOT_FOUND", saying=NO_SUCH_KEY):
        calls.delete(NO_SUCH_KEY)


def test_a_name_without_ascii_letters_is_refused(calls: Calls) -> None:
    # The client replaces everything but ASCII with "-", so all these names would be one key.
    with refused("INVALID_ARGUMENT", saying="letter or digit"):
        calls.create("\u591c\u9593\u30d3\u30eb\u30c9")


def test_get_and_listall_contain_no_secret(calls: Calls, name: str) -> None:
    secret = calls.create(name).client_secret
    assert secret

    got = calls.get(name)
    listed = calls.listall(limit=1000)
    assert not any(key.client_secret for key in [got, *listed])
    assert secret not in str([got, *listed])


def test_to_dict_uses_json_names(calls: Calls, name: str) -> None:
    calls.create(name)
    values = calls.get(name).to_dict()

    assert values.pop("clientIdIssuedAt").endswith("Z")
    assert values == {
        "clientId": name,
        "clientName": name,
        "grantTypes": ["CLIENT_CREDENTIALS", "AUTHORIZATION_CODE"],
        "responseTypes": ["CODE"],
        "redirectUris": ["http://localhost:8080/authorization-code/callback"],
        "tokenEndpointAuthMethod": "CLIENT_SECRET_BASIC",
    }


def test_to_json_equals_to_dict(calls: Calls, name: str) -> None:
    calls.create(name)
    key = calls.get(name)

    assert json.loads(key.to_json()) == key.to_dict()
