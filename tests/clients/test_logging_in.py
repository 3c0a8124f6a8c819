"""Logging in with a key, and when it is refused."""

import asyncio

import flyte
import pytest
from flyte.remote import User
from flyteplugins.union.remote import ApiKey

from support.gatekey import Credentials, Server
from support.public_clients import Calls, log_in, login_refused, refused


def test_a_created_key_can_get_itself(calls: Calls, name: str) -> None:
    log_in(calls.create(name).encoded_credentials)

    assert calls.get(name).client_id == name


def test_the_subject_is_the_client_id(calls: Calls, name: str) -> None:
    log_in(calls.create(name).encoded_credentials)

    assert User.get().subject() == name


def test_a_key_is_read_from_the_environment(calls: Calls, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYTE_API_KEY", calls.create(name).encoded_credentials)
    flyte.init_from_api_key()

    assert User.get().subject() == name


def test_only_an_admin_can_create_keys(calls: Calls, name: str) -> None:
    log_in(calls.create(name).encoded_credentials)

    with refused("PERMISSION_DENIED"):
        calls.create(f"{name}-other")


def test_only_an_admin_can_delete_another_key(calls: Calls, admin: Credentials, name: str) -> None:
    log_in(calls.create(name).encoded_credentials)

    with refused("PERMISSION_DENIED"):
        calls.delete(admin.client_id)


def test_a_deleted_key_gets_no_token(calls: Calls, name: str) -> None:
    key = calls.create(name)
    calls.delete(name)

    log_in(key.encoded_credentials)
    with login_refused():
        calls.get(name)


def test_a_token_is_revoked_with_its_key(
    calls: Calls, trusted_server: Server, admin: Credentials, name: str
) -> None:
    log_in(calls.create(name).encoded_credentials)
    assert User.get().subject() == name

    # By another client: this one must keep its login and its token.
    trusted_server.command(admin, "key", "delete", name)
    with login_refused():
        calls.get(name)


def test_a_recreated_key_does_not_restore_the_old(calls: Calls, admin: Credentials, name: str) -> None:
    old = calls.create(name)
    calls.delete(name)
    new = calls.create(name)

    log_in(old.encoded_credentials)
    with login_refused():
        calls.get(name)
    log_in(new.encoded_credentials)
    assert calls.get(name).client_id == name


def test_a_disabled_key_is_refused_until_enabled(
    calls: Calls, trusted_server: Server, admin: Credentials, name: str
) -> None:
    log_in(calls.create(name).encoded_credentials)

    trusted_server.command(admin, "key", "disable", name)
    with login_refused():
        calls.get(name)
    trusted_server.command(admin, "key", "enable", name)
    assert calls.get(name).client_id == name


def test_a_rotated_secret_is_valid_during_the_grace(
    calls: Calls, trusted_server: Server, admin: Credentials, name: str
) -> None:
    old = calls.create(name)
    new = trusted_server.rotate(admin, name, grace="24h")
    assert new.client_secret != old.client_secret

    for key in (old, new):
        log_in(key.encoded_credentials)
        assert calls.get(name).client_id == name


def test_a_secret_rotated_without_grace_is_refused(
    calls: Calls, trusted_server: Server, admin: Credentials, name: str
) -> None:
    old = calls.create(name)
    new = trusted_server.rotate(admin, name, grace="0")

    log_in(old.encoded_credentials)
    with login_refused():
        calls.get(name)
    log_in(new.encoded_credentials)
    assert calls.get(name).client_id == name


def test_concurrent_creates_each_create_their_key(admin: Credentials, name: str) -> None:
    # All calls start without a token, are refused, and wait for the same login.
    async def create_at_once() -> list[ApiKey]:
        return await asyncio.gather(*(ApiKey.create.aio(name=f"{name}-{number}") for number in range(8)))

    keys = asyncio.run(create_at_once())
    assert [key.client_id for key in keys] == [f"{name}-{number}" for number in range(8)]
    assert len({key.client_secret for key in keys}) == 8
