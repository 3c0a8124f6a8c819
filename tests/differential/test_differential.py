"""The same script on the public clients and on gatekey: the same results and the same state.

Except for the public clients' faults that gatekey fixes.
"""

import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.gatekey import REPOSITORY, Credentials, Server, run, serve

SCRIPT = Path(__file__).parent / "script.py"
VENVS = REPOSITORY / ".venvs"

# The interpreter of each public client; gatekey's is the one that runs the tests.
ORIGINALS = {version: VENVS / version / "bin" / "python" for version in ("0.1.1", "0.19.1")}

# Steps that always fail in 0.1.1: after its Get, it fails inside itself (see tests/clients).
BROKEN_IN_0_1_1 = {
    "update the name",
    "update the redirect URIs",
    "update nothing",
    "update with an invalid redirect URI",
    "get after the updates",
}

Outcomes = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """The results of the script, and the state of the server after it."""

    outcomes: Outcomes
    state: list[dict[str, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on port 443, the only one that works with the public clients' keys."""
    with serve(tmp_path_factory.mktemp("server") / "data", listen="127.0.0.1:443") as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: Server) -> Credentials:
    return server.init("admin")


def run_script(python: str | Path, form: str, server: Server, admin: Credentials) -> Run:
    prefix = f"d{uuid.uuid4().hex[:10]}"
    env = {**server.trust, "FLYTE_API_KEY": admin.encoded_credentials}
    printed = run(python, SCRIPT, form, prefix, env=env)
    outcomes: Outcomes = json.loads(printed.splitlines()[-1])
    listed = json.loads(server.command(admin, "key", "list", "--output", "json"))
    state = [comparable(key, prefix) for key in listed if key["client_id"].startswith(prefix)]
    return Run(outcomes, sorted(state, key=lambda key: str(key["client_id"])))


def comparable(key: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A key on the server, without values that differ between two runs."""
    text = json.dumps(key).replace(prefix, "PREFIX")
    kept: dict[str, Any] = json.loads(text)
    for name in ("key_id", "created_at", "updated_at"):
        kept.pop(name, None)
    kept["secrets"] = [{"label": secret["label"]} for secret in kept["secrets"]]
    return kept


@pytest.fixture(scope="module", params=["plain", "aio"])
def form(request: pytest.FixtureRequest) -> str:
    form: str = request.param
    return form


@pytest.fixture(scope="module")
def gatekey(form: str, server: Server, admin: Credentials) -> Run:
    return run_script(sys.executable, form, server, admin)


@pytest.fixture(scope="module")
def originals(form: str, server: Server, admin: Credentials) -> dict[str, Run]:
    return {version: run_script(python, form, server, admin) for version, python in ORIGINALS.items()}


def test_the_results_equal_those_of_0_19_1(gatekey: Run, originals: dict[str, Run]) -> None:
    assert gatekey.outcomes == originals["0.19.1"].outcomes


def test_the_results_equal_those_of_0_1_1(gatekey: Run, originals: dict[str, Run]) -> None:
    # Except for the steps that fail inside 0.1.1.
    theirs = originals["0.1.1"].outcomes
    compared = [step for step in theirs if step not in BROKEN_IN_0_1_1]
    assert {step: gatekey.outcomes[step] for step in compared} == {step: theirs[step] for step in compared}


def test_the_state_equals_that_of_0_19_1(gatekey: Run, originals: dict[str, Run]) -> None:
    assert gatekey.state == originals["0.19.1"].state
    assert len(gatekey.state) == 3


def test_the_state_equals_that_of_0_1_1(gatekey: Run, originals: dict[str, Run]) -> None:
    # Except for the fields that 0.1.1 cannot update.
    updated = ("client_name", "redirect_uris")
    gatekeys, theirs = (
        [{name: value for name, value in key.items() if name not in updated} for key in run.state]
        for run in (gatekey, originals["0.1.1"])
    )
    assert gatekeys == theirs


def test_update_works_unlike_in_0_1_1(gatekey: Run, originals: dict[str, Run]) -> None:
    assert originals["0.1.1"].outcomes["update the name"] == {"failed": "attributeerror"}
    assert gatekey.outcomes["update the name"]["client_name"] == "renamed"
