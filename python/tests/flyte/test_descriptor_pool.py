"""Our message and other packages' copies of it, of which protobuf accepts one per pool."""

import sys

import pytest
from environments import OURS, Environment, made_once

from support.gatekey import REPOSITORY

# Each must be able to read the output of the other, which proves that both work.
BOTH = """
import sys
def ours():
    from flyteplugins.union.remote import ApiKey
    from gatekey.api_key import ApiKey
    from gatekey.app_definition_pb2 import App
    return type(ApiKey(App(client_id="ci")).pb2)
def theirs():
    import importlib
    for name in sys.argv[2:]:
        module = importlib.import_module(name)
    return module.App
first, second = (ours, theirs) if sys.argv[1] == "ours first" else (theirs, ours)
one, other = first(), second()
assert one is not other
for writer, reader in ((one, other), (other, one)):
    key = {"client_id": "ci", "grant_types": [1]}
    assert reader.FromString(writer(**key).SerializeToString()) == reader(**key)
"""

ORDERS = ("ours first", "theirs first")


@pytest.mark.parametrize("order", ORDERS)
def test_flyte_and_flyteplugins_union_have_their_copies(theirs_then_ours: Environment, order: str) -> None:
    theirs_then_ours.run(BOTH, order, "flyte.remote", "flyteplugins.union.internal.identity.app_definition_pb2")


@pytest.fixture(scope="session")
def union_and_ours(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the packages `union` and Gatekey."""
    below = made_once("union", REPOSITORY / "tests" / "union" / "requirements.txt")
    environment = Environment.make(tmp_path_factory.mktemp("union") / "venv", below)
    environment.install(*OURS)
    return environment


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the package union was given up before Python 3.13 came")
@pytest.mark.parametrize("order", ORDERS)
def test_union_has_its_copy(union_and_ours: Environment, order: str) -> None:
    union_and_ours.run(BOTH, order, "union.internal.identity.app_definition_pb2")
