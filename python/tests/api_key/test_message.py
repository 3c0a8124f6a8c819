"""The message of a key: as protobuf's class on demand, and as JSON without protobuf's library."""

import ast
import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gatekey
from calls import Calls
from gatekey import ApiKey, app_definition_pb2
from gatekey.app_definition_pb2 import App
from scripts import run_script
from support.gatekey import Credentials

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INT32 = st.integers(-(2**31), 2**31 - 1)
# The years 1 to 9999, values just outside them, and all other values of the field.
SECONDS = st.one_of(
    st.integers(-62135596800 - 2, 253402300799 + 2),
    st.sampled_from([-62135596801, -62135596800, 253402300799, 253402300800]),
    st.integers(-(2**63), 2**63 - 1),
)
NANOS = st.one_of(
    st.sampled_from([0, 1, 1000, 1_000_000, 999_999_999, 1_000_000_000, -1]), st.integers(0, 10**9), INT32
)
DATES = st.builds(lambda seconds, nanos: {"seconds": seconds, "nanos": nanos}, SECONDS, NANOS)
# Unknown field 1000, as a string and as a varint.
UNKNOWN = st.sampled_from([b"", b"\xc2\x3e\x02hi", b"\xc0\x3e\x05"])


def a_strategy(field: Any) -> st.SearchStrategy[Any]:
    """Values of a field of any type."""
    one: st.SearchStrategy[Any]
    if field.message_type is not None:
        is_date = field.message_type.full_name == "google.protobuf.Timestamp"
        one = DATES if is_date else st.builds(lambda text: {"apporg": text}, TEXT)
    elif field.enum_type is not None:
        one = st.one_of(st.integers(0, 5), INT32)
    else:
        one = TEXT
    return st.lists(one, max_size=4) if field.is_repeated else one


APPS = st.builds(
    lambda fields, unknown: App.FromString(App(**fields).SerializeToString() + unknown),
    st.fixed_dictionaries({}, optional={field.name: a_strategy(field) for field in App.DESCRIPTOR.fields}),
    UNKNOWN,
)


def ordered(value: object) -> object:
    """A value that also compares the order of keys."""
    if isinstance(value, dict):
        return [(key, ordered(item)) for key, item in value.items()]
    return [ordered(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(APPS)
def test_json_matches_protobufs_output(app: Any) -> None:
    key = ApiKey(app)
    try:
        expected = MessageToDict(app), MessageToJson(app)
    except Exception:
        # Both reject values that JSON cannot represent.
        for convert in (key.to_dict, key.to_json):
            with pytest.raises(gatekey.InvalidArgumentError):
                convert()
        return
    assert ordered(key.to_dict()) == ordered(expected[0])
    assert key.to_json() == expected[1]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(APPS)
def test_a_message_survives_pickle_and_copies(app: Any) -> None:
    key = ApiKey(app, organization="acme", encoded_credentials="e")
    for twin in (pickle.loads(pickle.dumps(key)), copy.copy(key), copy.deepcopy(key)):
        assert twin == key
        assert twin.pb2.SerializeToString(deterministic=True) == app.SerializeToString(deterministic=True)


def test_json_of_a_response_matches_its_message(calls: Calls, name: str) -> None:
    for key in (calls.create(name), calls.get(name)):
        before = ordered(key.to_dict()), key.to_json()
        assert before == (ordered(MessageToDict(key.pb2)), MessageToJson(key.pb2))
        assert before == (ordered(key.to_dict()), key.to_json())


def test_the_message_is_a_protobuf_message(calls: Calls, name: str) -> None:
    key = calls.create(name)
    assert isinstance(key.pb2, Message)
    assert isinstance(key.pb2, App)
    assert key.pb2.DESCRIPTOR.full_name == "cloudidl.identity.App"
    assert app_definition_pb2.GrantTypes.Name(key.pb2.grant_types[0]) == "CLIENT_CREDENTIALS"


def test_the_message_is_shared_and_mutable(calls: Calls, name: str) -> None:
    key = calls.create(name)
    key.pb2.client_name = "Changed"
    assert key.pb2 is key.pb2
    assert key.client_name == key.to_dict()["clientName"] == "Changed"
    key.pb2 = App(client_id="another")
    assert (key.client_id, key.client_name) == ("another", "")


def test_protobuf_is_loaded_only_for_pb2(admin: Credentials, name: str) -> None:
    printed = run_script(
        f"""
        import sys
        from gatekey import ApiKey
        created = ApiKey.create({name!r})
        keys = [created, ApiKey.get({name!r}), *ApiKey.listall(limit=5)]
        for key in keys:
            key.client_id, key.client_name, key.client_secret, key.to_dict(), key.to_json(), repr(key), key == created
        print("google.protobuf" in sys.modules)
        created.pb2
        print("google.protobuf" in sys.modules)
        """
    )
    assert printed.split() == ["False", "True"]


def test_importing_the_package_loads_no_slow_module() -> None:
    printed = run_script(
        """
        import sys
        before = set(sys.modules)
        from gatekey import ApiKey
        slow = {"typing", "dataclasses", "asyncio", "inspect", "re", "datetime", "pathlib", "json", "ssl", "rich",
                "google", "logging", "threading", "enum", "contextlib"}
        print(sorted(slow & (set(sys.modules) - before)))
        """
    )
    assert printed.strip() == "[]"


def test_keys_are_equal_if_all_fields_are(calls: Calls, name: str) -> None:
    created = calls.create(name)
    assert calls.get(name) == calls.get(name)
    assert created != calls.get(name)
    app = App(client_id="a")
    assert ApiKey(app) == ApiKey(App(client_id="a"))
    assert ApiKey(app) != ApiKey(app, organization="acme")
    assert ApiKey(app) != ApiKey(app, encoded_credentials="e")
    assert ApiKey(app) != ApiKey(App(client_id="b"))
    assert ApiKey(app) != app


@pytest.mark.parametrize("of_message", [False, True])
def test_a_key_is_pickled_with_its_secret(admin: Credentials, name: str, of_message: bool) -> None:
    key = ApiKey.create(name)
    if of_message:
        assert key.pb2
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(key, protocol))
        assert twin == key
        assert (twin.client_secret, twin.encoded_credentials) == (key.client_secret, key.encoded_credentials)


def test_the_message_can_be_pickled(admin: Credentials, name: str) -> None:
    message = ApiKey.create(name).pb2
    assert pickle.loads(pickle.dumps(message)) == message


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_keys_and_messages_reach_other_processes(admin: Credentials, name: str, method: str) -> None:
    printed = run_script(
        f"""
        import multiprocessing
        from other_process import its_parts
        from gatekey import ApiKey

        if __name__ == "__main__":
            key = ApiKey.create({name!r})
            here = its_parts(key, key.pb2)
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                print(pool.starmap(its_parts, [(key, key.pb2)] * 4) == [here] * 4)
        """
    )
    assert printed.strip() == "True"


def test_the_stub_has_all_fields_and_enums() -> None:
    stub = ast.parse(Path(app_definition_pb2.__file__).with_suffix(".pyi").read_text())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    for message in (App, app_definition_pb2.Profile):
        (init,) = (n for n in classes[message.DESCRIPTOR.name].body if getattr(n, "name", "") == "__init__")
        assert isinstance(init, ast.FunctionDef)
        attributes = {
            node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else node.name
            for node in classes[message.DESCRIPTOR.name].body
            if isinstance(node, ast.AnnAssign | ast.FunctionDef) and node is not init
        }
        fields = [field.name for field in message.DESCRIPTOR.fields]
        assert [argument.arg for argument in init.args.kwonlyargs] == fields
        assert attributes == set(fields)
    variables = {n.target.id for n in stub.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    used = {field.enum_type.name for field in App.DESCRIPTOR.fields if field.enum_type}
    assert used <= variables
