"""Reports whether Gatekey or flyteplugins-union owns the files and commands that both install.

Run it as `python -m gatekey.flyte.ownership`. Both packages contain `flyteplugins.union.remote` and
`flyteplugins.union.utils.auth`, and pip silently keeps the files of the package that was installed
last. This module reads files and metadata, and does not import Flyte.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from pathlib import Path

OURS = "gatekey-flyte"
THEIRS = "flyteplugins-union"
DISTRIBUTIONS = ("gatekey", "gatekey-cli", OURS, THEIRS, "flyte", "union")

REMOTE = "flyteplugins.union.remote"
AUTH = "flyteplugins.union.utils.auth"

_SHARED_FILES = {
    REMOTE: "flyteplugins/union/remote/__init__.py",
    AUTH: "flyteplugins/union/utils/auth.py",
}
_SHARED_COMMANDS = ("create", "get", "delete")

_REINSTALL = "pip install --force-reinstall --no-deps"


@dataclass(frozen=True)
class Module:
    """A module that both packages install.

    Attributes:
        owner: The package whose file is installed. None if there is no file, or neither package's.
        file: The file that Python would import, or None.
    """

    owner: str | None
    file: str | None


@dataclass(frozen=True)
class Command:
    """A command of `flyte` that both packages provide.

    Attributes:
        owner: The package whose command runs. None if the command does not exist.
        entry_point: The function of the command, as `module:name`.
    """

    owner: str | None
    entry_point: str | None


@dataclass(frozen=True)
class Ownership:
    """The packages, modules and commands of this interpreter.

    Attributes:
        python: The path of the interpreter.
        distributions: The version of each relevant package, or None if it is not installed.
        modules: The owner of each shared module, by its name.
        commands: The owner of each shared command, such as `create api-key`.
        advice: How to change the owners, in sentences.
    """

    python: str
    distributions: dict[str, str | None]
    modules: dict[str, Module]
    commands: dict[str, Command]
    advice: list[str]

    @property
    def is_ours(self) -> bool:
        """Whether `flyteplugins.union.remote.ApiKey` is Gatekey's."""
        return self.modules[REMOTE].owner == OURS


def find() -> Ownership:
    """Inspects this interpreter."""
    distributions = {name: _version(name) for name in DISTRIBUTIONS}
    modules = {name: module(name) for name in _SHARED_FILES}
    has_flyte = distributions["flyte"] is not None
    commands = {f"{verb} api-key": _command(verb) if has_flyte else Command(None, None) for verb in _SHARED_COMMANDS}
    advice = list(_advice(distributions, modules, commands))
    return Ownership(sys.executable, distributions, modules, commands, advice)


def module(name: str) -> Module:
    """Returns the owner of a shared module."""
    file = _file(name)
    if file is None:
        return Module(None, None)
    installed = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).decode().rstrip("=")
    for distribution in (OURS, THEIRS):
        if _recorded_hash(distribution, _SHARED_FILES[name]) == installed:
            return Module(distribution, str(file))
    return Module(None, str(file))


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _file(name: str) -> Path | None:
    """Finds the file that Python would import.

    Does not import the parent packages, because flyteplugins-union's import Flyte.
    """
    locations: list[str] | None = None
    spec = None
    for part in name.split("."):
        spec = PathFinder.find_spec(part, locations)
        if spec is None:
            return None
        locations = list(spec.submodule_search_locations or ())
    # A namespace package has no file.
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _recorded_hash(distribution: str, path: str) -> str | None:
    """Returns the hash of a file in a distribution's RECORD."""
    try:
        files = importlib.metadata.files(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix() == path and file.hash is not None:
            return f"{file.hash.mode}={file.hash.value}"
    return None


def _command(verb: str) -> Command:
    """Returns the owner of `flyte VERB api-key`.

    Flyte keeps the last command that it adds, unless a hook replaces that.
    """
    commands = importlib.metadata.entry_points(group="flyte.plugins.cli.commands", name=f"{verb}.api-key")
    by_owner = {entry_point.dist.name: entry_point for entry_point in commands if entry_point.dist is not None}
    hooks = importlib.metadata.entry_points(group="flyte.plugins.cli.hooks", name=verb)
    # Our hook restores our command.
    is_hooked = any(hook.dist is not None and hook.dist.name == OURS for hook in hooks)
    owner = OURS if is_hooked and OURS in by_owner else next(reversed(by_owner), None)
    return Command(owner, None if owner is None else by_owner[owner].value)


def _advice(
    distributions: dict[str, str | None], modules: dict[str, Module], commands: dict[str, Command]
) -> Iterator[str]:
    if distributions[OURS] is None:
        # The packages are not on PyPI.
        yield (
            f"{OURS} is not installed here; to use Gatekey's class, build the wheels with "
            f"python/build-wheels, then: pip install --find-links wheels {OURS}"
        )
        return
    ours, theirs = (_pinned(name, distributions[name]) for name in (OURS, THEIRS))
    for name, found in modules.items():
        if found.owner == OURS:
            continue
        if found.owner == THEIRS and _is_elsewhere(found, _SHARED_FILES[name]):
            yield (
                f"{name} belongs to {THEIRS}: {found.file} hides the file of {OURS} in another folder; to use "
                "Gatekey's, install both into the same environment"
            )
            continue
        if found.owner == THEIRS:
            reason = f"{name} belongs to {THEIRS}, which was installed after {OURS}"
        elif found.file is None:
            reason = f"{name} is missing: uninstalling one of two packages that share a file removes the file"
        else:
            reason = f"{found.file} was changed after {OURS} or {THEIRS} installed it"
        yield f"{reason}; to use Gatekey's: {_REINSTALL} {ours}"
    if distributions[THEIRS] is None:
        return
    if any(command.owner == OURS for command in commands.values()):
        yield f"flyte runs the commands of {OURS}, which {THEIRS} has as well"
    yield (
        f"to use those of {THEIRS}: pip uninstall {OURS}, which removes the shared files as well, and then "
        f"{_REINSTALL} {theirs}"
    )


def _is_elsewhere(found: Module, path: str) -> bool:
    """Whether reinstalling our package would not replace this file."""
    if found.file is None or _version(OURS) is None:
        return False
    ours = Path(str(importlib.metadata.distribution(OURS).locate_file(path)))
    return Path(found.file).resolve() != ours.resolve()


def _pinned(distribution: str, version: str | None) -> str:
    return distribution if version is None else f"{distribution}=={version}"


def _text(ownership: Ownership) -> Iterator[str]:
    yield f"python: {ownership.python}"
    for name, version in ownership.distributions.items():
        yield f"{name}: {version or 'not installed'}"
    for name, found in ownership.modules.items():
        no_owner = "no file" if found.file is None else f"unknown owner: {found.file}"
        yield f"{name}: {found.owner or no_owner}"
    for name, command in ownership.commands.items():
        yield f"flyte {name}: {command.owner or 'no such command'}"
    for advice in ownership.advice:
        yield f"- {advice}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the report. Returns the exit code: 0 if the class is Gatekey's, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m gatekey.flyte.ownership",
        description="Reports which package owns flyteplugins.union.remote.ApiKey. Exits with 0 if it is Gatekey's.",
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="output format")
    chosen = parser.parse_args(arguments)
    found = find()
    if chosen.output == "json":
        print(json.dumps(asdict(found), indent=2))
    else:
        print("\n".join(_text(found)))
    return 0 if found.is_ours else 1


if __name__ == "__main__":
    sys.exit(main())
