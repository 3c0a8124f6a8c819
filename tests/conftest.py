"""Isolates every suite from the user's own environment and files."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gatekey import TIMEOUT_SECONDS, Server, serve

# The variables that tests inherit. The clients read many others: endpoints, keys, certificates,
# proxies, paths of configuration.
KEPT = ("PATH", "LANG", "TERM", "TMPDIR", "GATEKEY_BIN")

home = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    # Not in a fixture: the clients read some variables when a test module imports them.
    directory = Path(tempfile.mkdtemp(prefix="gatekey-tests-"))
    config.stash[home] = directory
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(
        kept,
        HOME=str(directory),
        # By default, the clients report errors to their vendor.
        DO_NOT_TRACK="1",
        # They keep tokens in the desktop's keyring, which may contain another key's.
        PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[home], ignore_errors=True)


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs each test in an empty directory: the clients read config.yaml in the working directory."""
    directory = tmp_path / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Fails a test that hangs, so that the others can run."""

    def give_up(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"the test did not end within {2 * TIMEOUT_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(2 * TIMEOUT_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on port 443, the only one that works with the public clients' keys."""
    with serve(tmp_path_factory.mktemp("server") / "data", listen="127.0.0.1:443") as running:
        yield running
