"""Fixtures: a server, an admin's key, and environments with each version of Flyte."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

# Imported by its plain name, because this folder has the name of the package `flyte`.
sys.path.insert(0, str(Path(__file__).parent))

from environments import OURS, UNION_OF, Environment, made_once

from support.gatekey import REPOSITORY, Credentials, Server, serve

HERE = Path(__file__).parent


def flyte(version: str) -> Path:
    """The site-packages of an environment with only Flyte."""
    return made_once(f"flyte-{version}", HERE / f"requirements-{version}.txt")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a free port, with its own CA."""
    with serve(tmp_path_factory.mktemp("server") / "data", listen="127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="session")
def admin_key(server: Server) -> Credentials:
    return server.init("admin")


@pytest.fixture
def name() -> str:
    """A name that no other test uses, which is also its client id."""
    return f"key-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session", params=UNION_OF)
def generation(request: pytest.FixtureRequest) -> str:
    """The version of Flyte in the environments."""
    version: str = request.param
    return version


@pytest.fixture(scope="session")
def flyte_and_ours(generation: str, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Flyte and Gatekey, without flyteplugins-union."""
    environment = Environment.make(tmp_path_factory.mktemp("ours") / "venv", flyte(generation))
    environment.install(*OURS)
    return environment


@pytest.fixture(scope="session")
def theirs_then_ours(generation: str, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Flyte, flyteplugins-union, and Gatekey installed after that."""
    environment = Environment.make(tmp_path_factory.mktemp("theirs-then-ours") / "venv", flyte(generation))
    environment.install(f"flyteplugins-union=={UNION_OF[generation]}")
    environment.install(*OURS)
    return environment


@pytest.fixture(scope="session")
def ours_then_theirs(generation: str, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Flyte, Gatekey, and flyteplugins-union installed after that."""
    environment = Environment.make(tmp_path_factory.mktemp("ours-then-theirs") / "venv", flyte(generation))
    environment.install(*OURS)
    environment.install(f"flyteplugins-union=={UNION_OF[generation]}")
    return environment


@pytest.fixture(scope="session")
def theirs_below_ours(generation: str, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Gatekey, and later on Python's path Flyte with flyteplugins-union."""
    union = UNION_OF[generation]
    below = made_once(union, REPOSITORY / "tests" / "clients" / f"requirements-{union}.txt")
    environment = Environment.make(tmp_path_factory.mktemp("theirs-below-ours") / "venv", below)
    environment.install(*OURS)
    return environment
