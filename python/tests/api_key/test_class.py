"""The interface of the class: constructor, properties, and the behavior of a dataclass."""

import copy
import dataclasses
import inspect
import io
import pydoc
import re
from typing import Any

import pytest
from rich.console import Console
from rich.pretty import Pretty
from rich.table import Table

from gatekey import ApiKey
from gatekey.app_definition_pb2 import App
from support.gatekey import Credentials


@dataclasses.dataclass
class Twin:
    """A real dataclass with the fields of the class, to compare with."""

    # Fields that contain the secret are in no repr, not even that of a derived class.
    pb2: Any = dataclasses.field(repr=False)
    organization: "str | None" = None
    encoded_credentials: "str | None" = dataclasses.field(default=None, repr=False)


def app() -> Any:
    return App(client_id="ci", client_name="CI", client_secret="gk_secret")


def test_the_constructor_has_the_documented_parameters() -> None:
    message = app()
    for key in (ApiKey(message, "acme", "e"), ApiKey(pb2=message, organization="acme", encoded_credentials="e")):
        assert (key.pb2, key.organization, key.encoded_credentials) == (message, "acme", "e")
    assert str(inspect.signature(ApiKey)) == (
        "(pb2: 'App | Message', organization: 'str | None' = None, encoded_credentials: 'str | None' = None) -> 'None'"
    )


def test_properties_come_from_the_message() -> None:
    key = ApiKey(app())
    assert (key.client_id, key.client_name, key.client_secret) == ("ci", "CI", "gk_secret")


@pytest.mark.parametrize("name", ["client_id", "client_name", "client_secret"])
def test_properties_cannot_be_set(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(ApiKey(app()), name, "x")


def test_operations_have_the_documented_parameters() -> None:
    signatures = {
        name: str(inspect.signature(getattr(ApiKey, name))) for name in ("create", "get", "listall", "update")
    }
    assert signatures == {
        "create": "(name: 'str', *, redirect_uris: 'Sequence[str] | None' = None, "
        "skip_default_policy_assignments: 'bool' = False, role: 'str | None' = None, "
        "expires_at: 'datetime | None' = None, allow_from: 'Sequence[str] | None' = None, "
        "rate: 'str | None' = None, projects: 'Sequence[str] | None' = None, "
        "domains: 'Sequence[str] | None' = None) -> 'ApiKey'",
        "get": "(client_id: 'str') -> 'ApiKey'",
        "listall": "(*, limit: 'int | None' = 100) -> 'Iterator[ApiKey]'",
        "update": "(client_id: 'str', *, client_name: 'str | None' = None, "
        "redirect_uris: 'Sequence[str] | None' = None) -> 'ApiKey'",
    }


def test_every_operation_has_a_return_type() -> None:
    returned = {
        name: inspect.signature(getattr(ApiKey, name)).return_annotation
        for name in ("delete", "rotate", "disable", "enable", "details")
    }
    assert returned == {
        "delete": "None",
        "rotate": "ApiKey",
        "disable": "KeyDetails",
        "enable": "KeyDetails",
        "details": "KeyDetails",
    }


def test_help_lists_operations_as_class_methods() -> None:
    text = pydoc.plain(pydoc.render_doc(ApiKey))
    _, _, methods = text.partition("Class methods defined here")
    methods, _, _ = methods.partition("-----")
    # From Python 3.13, a long signature has a line for each parameter.
    methods = re.sub(r"\n *\|? *", " ", methods).replace("( ", "(").replace(" )", ")")
    for line in (
        "create(name: 'str', *, redirect_uris:",
        "get(client_id: 'str') -> 'ApiKey'",
        "listall(*, limit: 'int | None' = 100) -> 'Iterator[ApiKey]'",
        "rotate(client_id: 'str', *, grace:",
    ):
        assert line in methods, text
    assert "<operation" not in text
    assert "(client_id: 'str') -> 'ApiKey'" in repr(ApiKey.get)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ApiKey.create("a", ["https://b"]),  # type: ignore[call-arg]
        lambda: ApiKey.update("a", "b"),  # type: ignore[call-arg]
        lambda: ApiKey.listall(5),  # type: ignore[call-arg]
        lambda: ApiKey.create(),  # type: ignore[call-arg]
        lambda: ApiKey.get("a", unknown=1),  # type: ignore[call-arg]
        lambda: ApiKey.create(5),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_a_type_error(admin: Credentials, call: Any) -> None:
    with pytest.raises(TypeError):
        call()


def test_operations_have_their_documentation_and_names() -> None:
    for name in ("create", "get", "listall", "update", "delete", "rotate", "disable", "enable", "details"):
        operation = getattr(ApiKey, name)
        assert "Example:" in operation.__doc__
        assert (operation.__name__, operation.__qualname__) == (name, f"ApiKey.{name}")


def test_an_operation_returns_keys_of_the_subclass(admin: Credentials, name: str) -> None:
    class Own(ApiKey):
        pass

    assert type(Own.create(name)) is Own
    assert {type(key) for key in Own.listall()} == {Own}


def test_the_fields_are_those_of_a_dataclass() -> None:
    def described(of: Any) -> list[tuple[object, ...]]:
        return [(f.name, f.default, f.init, f.repr, f.compare) for f in dataclasses.fields(of)]

    assert dataclasses.is_dataclass(ApiKey)
    assert described(ApiKey) == described(Twin)
    assert described(ApiKey(app())) == described(Twin(app()))


@pytest.mark.parametrize("convert", [dataclasses.asdict, dataclasses.astuple])
def test_it_converts_like_a_dataclass(convert: Any) -> None:
    assert convert(ApiKey(app(), "acme", "e")) == convert(Twin(app(), "acme", "e"))


def test_replace_changes_only_the_given_fields() -> None:
    key = ApiKey(app(), "acme", "e")
    replaced = dataclasses.replace(key, organization="other")
    assert (replaced.pb2 is key.pb2, replaced.organization, replaced.encoded_credentials) == (True, "other", "e")
    assert key.organization == "acme"


def test_only_a_shallow_copy_shares_the_message() -> None:
    for of_class in (ApiKey, Twin):
        original = of_class(app(), "acme", "e")
        assert copy.copy(original).pb2 is original.pb2
        deep = copy.deepcopy(original)
        assert deep == original
        deep.pb2.client_name = "Changed"
        assert original.pb2.client_name == "CI"


def test_a_copied_response_shares_its_message(admin: Credentials, name: str) -> None:
    key = ApiKey.create(name)
    copied = copy.copy(key)
    key.pb2.client_name = "Changed"
    assert copied.client_name == "Changed"


def test_a_key_without_a_message_fails_on_use() -> None:
    assert ApiKey(None).pb2 is None  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="NoneType"):
        _ = ApiKey(None).client_id  # type: ignore[arg-type]


def test_it_matches_by_position() -> None:
    match ApiKey(app(), "acme", "e"):
        case ApiKey(message, organization, encoded):
            assert (message.client_id, organization, encoded) == ("ci", "acme", "e")
        case _:
            pytest.fail("no match")


def test_a_mutable_key_is_not_hashable() -> None:
    for of_class in (ApiKey, Twin):
        with pytest.raises(TypeError, match="unhashable"):
            hash(of_class(app()))


def test_a_dataclass_may_derive_from_it() -> None:
    @dataclasses.dataclass
    class Own(ApiKey):
        note: str = ""

    assert [field.name for field in dataclasses.fields(Own)] == ["pb2", "organization", "encoded_credentials", "note"]
    own = Own(app(), encoded_credentials="e", note="mine")
    assert (own.client_id, own.note, dataclasses.replace(own) == own) == ("ci", "mine", True)
    assert "gk_secret" not in repr(own)


def test_repr_omits_the_secret(admin: Credentials, name: str) -> None:
    key = ApiKey.create(name)
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert name in shown
        assert key.client_secret not in shown
        assert str(key.encoded_credentials) not in shown


def test_a_table_has_id_name_and_organization() -> None:
    assert list(ApiKey(app()).__rich_repr__()) == [("client_id", "ci"), ("name", "CI")]
    assert list(ApiKey(app(), "acme").__rich_repr__())[2:] == [("organization", "acme")]


def test_a_rich_table_omits_the_secret(admin: Credentials, name: str) -> None:
    key = ApiKey.create(name)
    table = Table("key")
    table.add_row(Pretty(key))
    console = Console(file=io.StringIO(), width=200)
    console.print(table, key)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert f"ApiKey(client_id='{name}', name='{name}')" in shown
    assert key.client_secret not in shown
