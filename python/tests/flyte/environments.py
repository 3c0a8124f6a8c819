"""Virtual environments in which pip has installed Flyte, Gatekey and flyteplugins-union."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.gatekey import REPOSITORY, TIMEOUT_SECONDS, attempt

# Read at import time, because tests run without this variable. pip needs it.
_OUTSIDE = dict(os.environ)
WHEELS = Path(_OUTSIDE.get("GATEKEY_WHEELS", ""))

# Each supported version of Flyte, and the matching version of flyteplugins-union.
UNION_OF = {"2.0.12": "0.1.1", "2.12.1": "0.19.1"}

OURS = ("gatekey", "gatekey-flyte")


def made_once(name: str, requirements: Path) -> Path:
    """Returns the site-packages of the environment .venvs/NAME.

    Creates it if its requirements have changed, as `./test` does.
    """
    directory = REPOSITORY / ".venvs" / name
    mark = directory / "made-of"
    made_of = f"{sys.version} {hashlib.sha256(requirements.read_bytes()).hexdigest()}\n"
    if not mark.exists() or mark.read_text() != made_of:
        shutil.rmtree(directory, ignore_errors=True)
        _outside(sys.executable, "-m", "venv", directory)
        _outside(directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--requirement", requirements)
        mark.write_text(made_of)
    return _site_packages(directory)


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        directory: The folder of the environment.
        below: The site-packages of another environment, whose packages and commands this one sees.
    """

    directory: Path
    below: Path | None

    @classmethod
    def make(cls, directory: Path, below: Path | None = None) -> "Environment":
        """Creates an empty environment."""
        _outside(sys.executable, "-m", "venv", "--without-pip", directory)
        if below is not None:
            (_site_packages(directory) / "below.pth").write_text(f"{below}\n")
        return cls(directory, below)

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.directory / "bin" / "python"

    def install(self, *packages: str) -> None:
        """Installs packages of this build, or else of the index, without their dependencies."""
        ours = all(package in OURS for package in packages)
        source = ("--no-index", "--find-links", WHEELS) if ours else ()
        self._pip("install", "--quiet", "--no-deps", *source, *packages)

    def reinstall(self, package: str) -> None:
        """Follows the advice: `pip install --force-reinstall --no-deps`."""
        source = ("--no-index", "--find-links", WHEELS) if package.startswith(OURS) else ()
        self._pip("install", "--quiet", "--force-reinstall", "--no-deps", *source, package)

    def uninstall(self, package: str) -> None:
        self._pip("uninstall", "--quiet", "--yes", package)

    def run(self, code: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Runs Python code that must succeed, and returns its output."""
        done = attempt(self.python, "-c", code, *arguments, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def flyte(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs `flyte` of the base environment with the interpreter of this one."""
        assert self.below is not None
        return attempt(self.python, self.below.parents[2] / "bin" / "flyte", *arguments, env=env)

    def ownership(self) -> tuple[int, dict[str, Any]]:
        """Returns the exit code and the report of `python -m gatekey.flyte.ownership`."""
        done = attempt(self.python, "-m", "gatekey.flyte.ownership", "--output", "json")
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    def _pip(self, *arguments: str | Path) -> None:
        _outside(sys.executable, "-m", "pip", "--python", self.python, *arguments)


def _site_packages(directory: Path) -> Path:
    (found,) = (directory / "lib").glob("python3.*/site-packages")
    return found


def _outside(*command: str | Path) -> None:
    assert list(WHEELS.glob("gatekey_flyte-*.whl")), "GATEKEY_WHEELS names no folder with the wheels of this build"
    env = {**_OUTSIDE, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    # An installation from the index takes longer than the time limit of a test.
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=10 * TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
