"""The examples in the documentation work when they are run unchanged."""

import contextlib
import textwrap
from collections.abc import Iterator

import pytest

import gatekey
from examples import OF_THE_PUBLIC_CLASS, example
from gatekey import ApiKey
from scripts import run_script
from servers import LoggedServer, serve_and_log
from support.gatekey import Credentials

OPERATIONS = ("create", "get", "listall", "update", "delete", "rotate", "disable", "enable", "details")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedServer]:
    """A server on which the names in the examples are free."""
    with serve_and_log(tmp_path_factory.mktemp("examples") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def admin_key(server: LoggedServer) -> Credentials:
    return server.init("admin")


@pytest.fixture
def free(admin: Credentials) -> Iterator[None]:
    """Deletes the key of the examples."""
    yield
    with contextlib.suppress(gatekey.NotFoundError):
        ApiKey.delete("ci-pipeline")


@pytest.mark.parametrize("name", OPERATIONS)
def test_of_an_operation(free: None, admin: Credentials, name: str) -> None:
    code = example(getattr(ApiKey, name))
    assert f"ApiKey.{name}(" in code
    if name != "create":
        ApiKey.create("ci-pipeline")
    run_script("from datetime import timedelta\nfrom gatekey import ApiKey\n" + code)


def test_of_the_class(free: None) -> None:
    printed = run_script("from gatekey import ApiKey\n" + example(ApiKey))
    assert "ci-pipeline: ci-pipeline" in printed
    assert "export FLYTE_API_KEY=" in printed


def test_of_the_package(free: None) -> None:
    blocks = [block for block in (gatekey.__doc__ or "").split("\n\n") if block.startswith("    ")]
    code = textwrap.dedent("\n".join(blocks))
    assert code.startswith("import gatekey")
    assert "export FLYTE_API_KEY=" in run_script(code)


def test_of_init(server: LoggedServer, admin: Credentials) -> None:
    code = example(gatekey.init)
    assert "https://flyte.example.com:8443" in code
    code = code.replace("https://flyte.example.com:8443", server.url)
    printed = run_script(
        f"import gatekey\nsecret = {admin.client_secret!r}\n{code}\nprint(gatekey.ApiKey.get('admin').client_id)"
    )
    assert printed.strip() == "admin"


def test_of_the_public_class(free: None) -> None:
    printed = run_script("from gatekey import ApiKey\n" + OF_THE_PUBLIC_CLASS)
    assert "Client ID: ci-pipeline" in printed
