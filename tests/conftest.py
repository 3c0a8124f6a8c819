"""What every suite here needs: an environment in which nothing of the user's own set-up takes part."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gatekey import PATIENCE_SECONDS, Server, serve

# All that the tests take over from outside. The clients read much else from the environment: endpoints, keys,
# trust, proxies, where configuration lies.
KEPT = ("PATH", "LANG", "TERM", "TMPDIR", "GATEKEY_BIN")

home = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    # Here and not in a fixture: the test modules import the clients, which read some of it while imported.
    directory = Path(tempfile.mkdtemp(prefix="gatekey-tests-"))
    config.stash[home] = directory
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(
        kept,
        HOME=str(directory),
        # The clients report errors to their makers unless told not to.
        DO_NOT_TRACK="1",
        # They keep tokens in the desktop's keyring, where another key's might already lie.
        PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[home], ignore_errors=True)


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test runs in an empty directory: the clients look for a config.yaml in the one they run in."""
    directory = tmp_path / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A call that never returns fails its test, instead of keeping all others waiting."""

    def give_up(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"the test did not end within {2 * PATIENCE_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(2 * PATIENCE_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on the one port that the public clients' keys can name, which is none: 443."""
    with serve(tmp_path_factory.mktemp("server") / "data", listen="127.0.0.1:443") as running:
        yield running
