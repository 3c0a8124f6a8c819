"""`create`, `get`, `update` and `delete`: called plainly and awaited, the same rules hold."""

import pytest

import gatekey
from calls import Calls
from servers import LoggedServer
from support.gatekey import Credentials

NO_SUCH_KEY = "no-such-key"


def test_a_created_key_holds_all_that_a_client_needs(calls: Calls, server: LoggedServer, name: str) -> None:
    key = calls.create(name)

    assert key.client_id == key.client_name == name
    assert key.client_secret.startswith("gk_")
    assert key.organization is None
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FLYTE_API_KEY", key.encoded_credentials)
        assert calls.details(name).client_id == name


def test_the_client_id_derives_from_the_name(calls: Calls, name: str) -> None:
    assert calls.create(f"Nightly build, {name}").client_id == f"nightly-build-{name}"


def test_a_name_that_normalises_to_nothing_is_refused_before_any_call(calls: Calls, server: LoggedServer) -> None:
    server.requests()
    with pytest.raises(gatekey.InvalidArgumentError, match="letter or digit"):
        calls.create("\u591c\u9593 --- ")
    assert server.requests() == []


def test_get_gives_what_was_created_without_the_secret(calls: Calls, name: str) -> None:
    created = calls.create(name).pb2
    created.client_secret = ""

    assert calls.get(name).pb2 == created


@pytest.mark.parametrize("operation", ["get", "update", "delete", "rotate", "disable", "enable", "details"])
def test_what_is_not_there_is_not_found(calls: Calls, operation: str) -> None:
    with pytest.raises(gatekey.NotFoundError, match=NO_SUCH_KEY) as caught:
        getattr(calls, operation)(NO_SUCH_KEY)
    assert caught.value.code == "not_found"


def test_a_deleted_key_is_gone(calls: Calls, name: str) -> None:
    calls.create(name)
    assert calls.delete(name) is None

    with pytest.raises(gatekey.NotFoundError):
        calls.get(name)
    assert name not in [key.client_id for key in calls.listall(limit=None)]


def test_a_name_that_is_taken_already_exists(calls: Calls, name: str) -> None:
    calls.create(name)
    with pytest.raises(gatekey.AlreadyExistsError, match=name):
        calls.create(name)


def test_the_call_is_made_by_the_key_in_the_environment(
    calls: Calls, server: LoggedServer, admin: Credentials, name: str
) -> None:
    server.requests()
    calls.create(name)
    (create,) = (request for request in server.requests() if request["path"].endswith("/Create"))
    assert create["client_id"] == admin.client_id
