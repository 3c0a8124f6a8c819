"""Operations of Gatekey servers: rotate, disable, enable, details, roles and dates."""

from datetime import date, datetime, timedelta, timezone

import pytest

import gatekey
from calls import Calls
from gatekey import ApiKey


def use(key: ApiKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes later calls with this key."""
    assert key.encoded_credentials
    monkeypatch.setenv("FLYTE_API_KEY", key.encoded_credentials)


def test_within_the_grace_both_secrets_work(calls: Calls, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = calls.create(name)
    new = calls.rotate(name, grace=timedelta(hours=1), label="next")
    assert new.client_secret != old.client_secret
    for key in (old, new):
        use(key, monkeypatch)
        assert [secret.label for secret in calls.details(name).secrets] == ["", "next"]


def test_without_a_grace_the_old_secret_is_revoked(calls: Calls, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = calls.create(name)
    with monkeypatch.context() as patch:
        use(old, patch)
        calls.details(name)  # Now the client has a token.
    new = calls.rotate(name)

    use(old, monkeypatch)
    with pytest.raises(gatekey.UnauthenticatedError):
        calls.details(name)
    use(new, monkeypatch)
    assert calls.details(name).client_id == name


def test_a_key_may_rotate_itself(calls: Calls, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(calls.create(name), monkeypatch)
    use(calls.rotate(name), monkeypatch)
    assert [secret.expires_at is None for secret in calls.details(name).secrets] == [False, True]


def test_a_disabled_key_is_refused_until_enabled(calls: Calls, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = calls.create(name)
    assert calls.disable(name).disabled_at is not None
    with monkeypatch.context() as patch:
        use(key, patch)
        with pytest.raises(gatekey.UnauthenticatedError):
            calls.details(name)
    assert calls.enable(name).disabled_at is None
    use(key, monkeypatch)
    assert calls.details(name).client_id == name


@pytest.mark.parametrize("role", ["admin", "contributor", "viewer", "verifier"])
def test_a_key_gets_the_requested_role(calls: Calls, name: str, role: str) -> None:
    calls.create(name, role=role)
    assert calls.details(name).role == role


def test_an_unknown_role_is_refused(calls: Calls, name: str) -> None:
    with pytest.raises(ValueError, match="owner"):
        calls.create(name, role="owner")


def test_a_key_has_its_expiry(calls: Calls, name: str) -> None:
    expires_at = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
    assert calls.create(name, expires_at=expires_at.astimezone(timezone(timedelta(hours=-9)))).client_id == name
    details = calls.details(name)
    assert details.expires_at == expires_at
    assert details.expires_at.tzinfo is not None


def test_a_new_secret_has_its_expiry(calls: Calls, name: str) -> None:
    calls.create(name)
    expires_at = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
    calls.rotate(name, grace=timedelta(minutes=1), expires_at=expires_at)
    assert [secret.expires_at for secret in calls.details(name).secrets][-1] == expires_at


def test_a_date_without_a_zone_is_refused(calls: Calls, name: str) -> None:
    for operation in (calls.create, calls.rotate):
        with pytest.raises(ValueError, match="time zone"):
            operation(name, expires_at=datetime(2100, 1, 1))


def test_a_past_date_is_refused(calls: Calls, name: str) -> None:
    with pytest.raises(gatekey.InvalidArgumentError, match="expire"):
        calls.create(name, expires_at=datetime(2000, 1, 1, tzinfo=timezone.utc))


def test_a_grace_out_of_range_is_refused(calls: Calls, name: str) -> None:
    calls.create(name)
    for too_long in (timedelta(days=91), timedelta.max):
        with pytest.raises(gatekey.InvalidArgumentError, match="grace"):
            calls.rotate(name, grace=too_long)
    with pytest.raises(ValueError, match="grace must not be negative"):
        calls.rotate(name, grace=timedelta(seconds=-1))
    for other in ("24h", 86400):
        with pytest.raises(TypeError, match=r"timedelta\(hours=24\)"):
            calls.rotate(name, grace=other)


def test_an_extreme_date_is_refused_or_kept(calls: Calls, name: str) -> None:
    last = datetime.max.replace(microsecond=0, tzinfo=timezone.utc)
    calls.create(name, expires_at=last)
    assert calls.details(name).expires_at == last
    with pytest.raises(ValueError, match="1970"):
        calls.create(name, expires_at=datetime.min.replace(tzinfo=timezone.utc))


@pytest.mark.parametrize("date", ["2100-01-01", date(2100, 1, 1), 4102444800])
def test_a_non_datetime_is_a_type_error(calls: Calls, name: str, date: object) -> None:
    for operation in (calls.create, calls.rotate):
        with pytest.raises(TypeError, match="expires_at"):
            operation(name, expires_at=date)


def test_details_compare_by_value_and_show_no_secret(calls: Calls, name: str) -> None:
    key = calls.create(name)
    details = calls.details(name)
    assert details == calls.details(name)
    assert details != calls.disable(name)
    assert details.secrets == calls.details(name).secrets
    assert name in repr(details)
    assert key.client_secret not in repr([details, details.secrets])
    assert isinstance(details, gatekey.KeyDetails)
    assert isinstance(details.secrets[0], gatekey.SecretDetails)


def test_the_last_use_of_a_secret_is_reported(calls: Calls, admin: object) -> None:
    secrets = calls.details("admin").secrets
    assert all(secret.created_at is not None for secret in secrets)
