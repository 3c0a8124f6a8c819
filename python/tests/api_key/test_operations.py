"""`create`, `get`, `update` and `delete`, both blocking and awaited."""

import base64

import pytest

import gatekey
from calls import Calls
from servers import LoggedServer
from support.gatekey import Credentials

NO_SUCH_KEY = "no-such-key"


def test_a_created_key_contains_everything_clients_need(calls: Calls, server: LoggedServer, name: str) -> None:
    key = calls.create(name)

    assert key.client_id == key.client_name == name
    assert key.client_secret.startswith("gk_")
    assert key.organization is None
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FLYTE_API_KEY", key.encoded_credentials)
        assert calls.details(name).client_id == name


def test_the_client_id_is_derived_from_the_name(calls: Calls, name: str) -> None:
    assert calls.create(f"Nightly build, {name}").client_id == f"nightly-build-{name}"


def test_an_unusable_name_is_refused_without_a_request(calls: Calls, server: LoggedServer) -> None:
    server.requests()
    with pytest.raises(gatekey.InvalidArgumentError, match="letter or digit"):
        calls.create("\u591c\u9593 --- ")
    assert server.requests() == []


def test_get_returns_the_key_without_its_secret(calls: Calls, name: str) -> None:
    created = calls.create(name).pb2
    created.client_secret = ""

    assert calls.get(name).pb2 == created


@pytest.mark.parametrize("operation", ["get", "update", "delete", "rotate", "disable", "enable", "details"])
def test_a_missing_key_is_not_found(calls: Calls, operation: str) -> None:
    with pytest.raises(gatekey.NotFoundError, match=NO_SUCH_KEY) as caught:
        getattr(calls, operation)(NO_SUCH_KEY)
    assert caught.value.code == "not_found"


def test_a_deleted_key_is_not_found(calls: Calls, name: str) -> None:
    calls.create(name)
    assert calls.delete(name) is None

    with pytest.raises(gatekey.NotFoundError):
        calls.get(name)
    assert name not in [key.client_id for key in calls.listall(limit=None)]


def test_a_name_in_use_already_exists(calls: Calls, name: str) -> None:
    calls.create(name)
    with pytest.raises(gatekey.AlreadyExistsError, match=name):
        calls.create(name)


def test_the_key_in_the_environment_is_used(calls: Calls, server: LoggedServer, admin: Credentials, name: str) -> None:
    server.requests()
    calls.create(name)
    (create,) = (request for request in server.requests() if request["path"].endswith("/Create"))
    assert create["client_id"] == admin.client_id


FIELDS_BESIDE = {
    "contacts": ["ops@example.com", "dev@example.com"],
    "logoUri": "https://example.com/logo.png",
    "clientUri": "https://example.com",
    "policyUri": "https://example.com/policy",
    "tosUri": "https://example.com/tos",
    "jwksUri": "https://example.com/jwks",
    "applicationType": "NATIVE",
    "grantTypes": ["CLIENT_CREDENTIALS"],
}


def test_update_preserves_all_other_fields(calls: Calls, server: LoggedServer, admin: Credentials, name: str) -> None:
    calls.create(name, redirect_uris=["https://ci.example.com/callback"])
    token = server.command(admin, "token").strip()
    server.fetch("/cloudidl.identity.AppsService/Update", body={"clientId": name, **FIELDS_BESIDE}, token=token)
    before = calls.get(name).to_dict()
    assert {field: before[field] for field in FIELDS_BESIDE} == FIELDS_BESIDE

    updated = calls.update(name, client_name="Nightly build")
    assert updated.to_dict() == calls.get(name).to_dict() == {**before, "clientName": "Nightly build"}

    updated = calls.update(name, redirect_uris=["https://other.example.com/callback"])
    uris = {"redirectUris": ["https://other.example.com/callback"]}
    assert updated.to_dict() == calls.get(name).to_dict() == {**before, "clientName": "Nightly build", **uris}


def test_update_keeps_the_secret_valid(calls: Calls, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = calls.create(name)
    updated = calls.update(name, client_name="Nightly build")
    assert (updated.client_secret, updated.encoded_credentials) == ("", None)

    monkeypatch.setenv("FLYTE_API_KEY", key.encoded_credentials)
    assert calls.details(name).client_name == "Nightly build"


@pytest.mark.parametrize("nothing", [{}, {"client_name": "", "redirect_uris": []}, {"client_name": None}])
def test_update_with_nothing_to_change_changes_nothing(calls: Calls, name: str, nothing: dict[str, object]) -> None:
    before = calls.create(name, redirect_uris=["https://ci.example.com/callback"])
    before.pb2.client_secret = ""
    assert calls.update(name, **nothing).pb2 == before.pb2


@pytest.mark.parametrize("uris", [("https://a.example.com/cb",), ["https://a.example.com/cb", "http://localhost:1/cb"]])
def test_redirect_uris_may_be_any_sequence(calls: Calls, name: str, uris: list[str]) -> None:
    assert list(calls.create(name, redirect_uris=uris).pb2.redirect_uris) == list(uris)


def test_a_bare_string_of_redirect_uris_is_refused(calls: Calls, name: str) -> None:
    for operation in (calls.create, calls.update):
        with pytest.raises(TypeError, match="redirect_uris"):
            operation(name, redirect_uris="https://a.example.com/cb")


def test_redirect_uris_may_come_from_a_message(calls: Calls, name: str) -> None:
    uris = calls.create(name).pb2.redirect_uris
    assert calls.update(name, redirect_uris=uris).pb2.redirect_uris == uris


def test_encoded_credentials_contain_the_port(calls: Calls, server: LoggedServer, name: str) -> None:
    key = calls.create(name)
    decoded = base64.b64decode(key.encoded_credentials).decode().rsplit(":", 3)
    assert decoded == [server.endpoint, name, key.client_secret, "None"]
    assert ":" in server.endpoint


def test_a_key_without_default_policies_has_no_role(calls: Calls, name: str) -> None:
    calls.create(name, skip_default_policy_assignments=True)
    assert calls.details(name).role is None


def test_a_key_is_created_with_limits(calls: Calls, name: str) -> None:
    limits = {"allow_from": ["127.0.0.0/8", "::1"], "rate": "1000/s", "projects": ("web",), "domains": ["development"]}
    created = calls.create(name, **limits)
    assert created.encoded_credentials
    details = calls.details(name)
    assert (details.allow_from, details.rate) == (["127.0.0.0/8", "::1"], "1000/s")
    assert (details.projects, details.domains) == (["web"], ["development"])
    with pytest.raises(gatekey.InvalidArgumentError, match="rate"):
        calls.create(f"{name}-2", rate="often")
    with pytest.raises(TypeError, match="projects"):
        calls.create(f"{name}-2", projects="web")


def test_only_create_returns_the_secret(calls: Calls, name: str) -> None:
    secret = calls.create(name).client_secret
    for key in (calls.get(name), *calls.listall(limit=None)):
        assert (key.client_secret, key.encoded_credentials) == ("", None)
        assert secret not in key.to_json()


@pytest.mark.parametrize("client_id", ["", "no/such", "a b", "\u591c", "x" * 5000, "a\nb", "a\0b"])
def test_any_text_may_be_a_client_id(calls: Calls, client_id: str) -> None:
    with pytest.raises((gatekey.NotFoundError, gatekey.InvalidArgumentError)) as caught:
        calls.get(client_id)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
