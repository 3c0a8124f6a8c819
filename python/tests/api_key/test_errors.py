"""Errors: one base class, a code, a request id, one sentence, and no secret."""

import io
import logging
import pickle
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.traceback import Traceback

import gatekey
from calls import Calls
from servers import LoggedServer, SilentServer, serve_nothing
from support.gatekey import Credentials


def never_answers(calls: Calls, silence: SilentServer) -> None:
    gatekey.init(api_key=silence.encoded_credentials, timeout=0.2)
    calls.get("ci")


def is_not_there(calls: Calls, silence: SilentServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    gatekey.init(f"127.0.0.1:{port}", client_id="ci", client_secret="gk_secret", retries=0)
    calls.get("ci")


def is_refused(calls: Calls, silence: SilentServer) -> None:
    gatekey.init(client_id="admin", client_secret="gk_secret")
    calls.get("ci")


def is_not_allowed(calls: Calls, silence: SilentServer) -> None:
    calls.create("not-allowed")
    gatekey.init(api_key=calls.rotate("not-allowed").encoded_credentials)
    try:
        calls.create("x")
    finally:
        gatekey.settings._given = None
        calls.delete("not-allowed")


def exists(calls: Calls, silence: SilentServer) -> None:
    calls.create("admin")


def is_missing(calls: Calls, silence: SilentServer) -> None:
    calls.get("no-such-key")


def breaks_a_rule(calls: Calls, silence: SilentServer) -> None:
    calls.create("x", redirect_uris=["nonsense"])


def is_no_gatekey(calls: Calls, silence: SilentServer) -> None:
    with serve_nothing() as url:
        gatekey.init(url, client_id="ci", client_secret="gk_secret", plaintext=True)
        calls.rotate("ci")


def has_a_bad_key(calls: Calls, silence: SilentServer) -> None:
    gatekey.init(api_key="gk_secret")


CASES: dict[Callable[..., None], tuple[type[gatekey.Error], str, bool]] = {
    never_answers: (gatekey.DeadlineExceededError, "deadline_exceeded", True),
    is_not_there: (gatekey.UnavailableError, "unavailable", True),
    is_refused: (gatekey.UnauthenticatedError, "unauthenticated", False),
    is_not_allowed: (gatekey.PermissionDeniedError, "permission_denied", False),
    exists: (gatekey.AlreadyExistsError, "already_exists", False),
    is_missing: (gatekey.NotFoundError, "not_found", False),
    breaks_a_rule: (gatekey.InvalidArgumentError, "invalid_argument", False),
    is_no_gatekey: (gatekey.UnimplementedError, "unimplemented", False),
    has_a_bad_key: (gatekey.ConfigurationError, "configuration", False),
}


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def failure(request: pytest.FixtureRequest, calls: Calls, silence: SilentServer) -> tuple[gatekey.Error, Any]:
    """A failed call: its error, and the expected one."""
    with pytest.raises(gatekey.Error) as caught:
        request.param(calls, silence)
    return caught.value, CASES[request.param]


def test_each_error_has_class_code_and_retryability(failure: tuple[gatekey.Error, Any]) -> None:
    error, expected = failure
    assert (type(error), error.code, error.is_retryable) == expected


def test_each_error_is_one_sentence(failure: tuple[gatekey.Error, Any]) -> None:
    message = str(failure[0])
    assert message
    assert "\n" not in message
    assert not message.endswith(".")
    assert not {"Error(", "Err(", "Some(", "{ "} & set(message.split(" "))


def test_every_error_has_the_logged_request_id(failure: tuple[gatekey.Error, Any], server: LoggedServer) -> None:
    error, (_, code, _) = failure
    logged = [request["request_id"] for request in server.requests()]
    # Without a connection, no server has seen the id.
    if code in ("configuration", "unavailable"):
        assert error.request_id is None
    else:
        assert error.request_id
    if code in ("permission_denied", "already_exists", "not_found", "invalid_argument"):
        assert error.request_id in logged


def test_each_survives_pickle(failure: tuple[gatekey.Error, Any]) -> None:
    error = failure[0]
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert (str(twin), vars(twin)) == (str(error), vars(error))


def test_no_error_or_traceback_contains_a_secret(failure: tuple[gatekey.Error, Any], admin: Credentials) -> None:
    error = failure[0]
    # Without the variables of the tests themselves, which contain secrets.
    folder = Path(__file__).parent
    of_rich = io.StringIO()
    options = {"show_locals": True, "locals_max_string": None, "suppress": [str(folder)]}
    Console(file=of_rich, width=400).print(Traceback.from_exception(type(error), error, error.__traceback__, **options))
    assert "locals" in of_rich.getvalue()
    of_python = traceback.TracebackException.from_exception(error, capture_locals=True)
    of_python.stack = traceback.StackSummary.from_list(
        [frame for frame in of_python.stack if folder not in Path(frame.filename).parents]
    )
    for text in (str(error), repr(error), repr(vars(error)), of_rich.getvalue(), "".join(of_python.format())):
        assert "gk_" not in text
        assert admin.encoded_credentials not in text


def test_nothing_of_a_secret_is_logged(calls: Calls, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        calls.create(name)
        calls.rotate(name)
    assert "gk_" not in caplog.text


def test_an_unexplained_failure_is_an_error() -> None:
    error = gatekey.Error("could not get it")
    assert (str(error), error.code, error.request_id, error.is_retryable) == (
        "could not get it",
        "unknown",
        None,
        False,
    )
    assert isinstance(error, Exception)
