"""Who owns what Gatekey and flyteplugins-union both install: `python -m gatekey.flyte.ownership`.

Both packages have the files of `flyteplugins.union.remote` and `flyteplugins.union.utils.auth`, and pip keeps those of
the one that was installed last, without a word. All here is read from files and metadata; nothing of Flyte is imported.
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
        owner: The package whose file is there now; none when there is no file, or it is of neither package.
        file: The file that Python would import; none when there is none.
    """

    owner: str | None
    file: str | None


@dataclass(frozen=True)
class Command:
    """A command of `flyte` that both packages provide.

    Attributes:
        owner: The package whose command runs; none when there is no such command.
        entry_point: The function behind it, as `module:name`.
    """

    owner: str | None
    entry_point: str | None


@dataclass(frozen=True)
class Ownership:
    """What this interpreter has.

    Attributes:
        python: The interpreter.
        distributions: The version of each package that takes part; none for one that is not installed.
        modules: Who owns each shared module, by its name.
        commands: Who owns each shared command, such as `create api-key`.
        advice: What to do to change it, in sentences.
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
    """Looks at this interpreter."""
    distributions = {name: _version(name) for name in DISTRIBUTIONS}
    modules = {name: module(name) for name in _SHARED_FILES}
    has_flyte = distributions["flyte"] is not None
    commands = {f"{verb} api-key": _command(verb) if has_flyte else Command(None, None) for verb in _SHARED_COMMANDS}
    advice = list(_advice(distributions, modules, commands))
    return Ownership(sys.executable, distributions, modules, commands, advice)


def module(name: str) -> Module:
    """Who owns one of the two shared modules."""
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
    """The file that Python would import, found without importing the packages around it: theirs import Flyte."""
    locations: list[str] | None = None
    spec = None
    for part in name.split("."):
        spec = PathFinder.find_spec(part, locations)
        if spec is None:
            return None
        locations = list(spec.submodule_search_locations or ())
    # A folder that only looks like the package has no file.
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _recorded_hash(distribution: str, path: str) -> str | None:
    """The hash that a distribution's RECORD has for a file."""
    try:
        files = importlib.metadata.files(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix() == path and file.hash is not None:
            return f"{file.hash.mode}={file.hash.value}"
    return None


def _command(verb: str) -> Command:
    """Who owns `flyte VERB api-key`: Flyte takes commands first, each in place of one that came before, then hooks."""
    commands = importlib.metadata.entry_points(group="flyte.plugins.cli.commands", name=f"{verb}.api-key")
    by_owner = {entry_point.dist.name: entry_point for entry_point in commands if entry_point.dist is not None}
    hooks = importlib.metadata.entry_points(group="flyte.plugins.cli.hooks", name=verb)
    # Our hook puts our command back.
    is_hooked = any(hook.dist is not None and hook.dist.name == OURS for hook in hooks)
    owner = OURS if is_hooked and OURS in by_owner else next(reversed(by_owner), None)
    return Command(owner, None if owner is None else by_owner[owner].value)


def _advice(
    distributions: dict[str, str | None], modules: dict[str, Module], commands: dict[str, Command]
) -> Iterator[str]:
    ours, theirs = (_pinned(name, distributions[name]) for name in (OURS, THEIRS))
    for name, found in modules.items():
        if found.owner == OURS:
            continue
        if found.owner == THEIRS and _is_elsewhere(found, _SHARED_FILES[name]):
            yield (
                f"{name} is that of {THEIRS} in {found.file}, which hides what {OURS} has in another folder; to have "
                "Gatekey's, install both into the same environment"
            )
            continue
        if found.owner == THEIRS:
            reason = f"{name} is that of {THEIRS}, which was installed after {OURS}"
        elif found.file is None:
            reason = f"{name} is gone, as happens when one of two packages that share a file is uninstalled"
        else:
            reason = f"{found.file} is as neither {OURS} nor {THEIRS} installed it"
        yield f"{reason}; to have Gatekey's: {_REINSTALL} {ours}"
    if distributions[THEIRS] is None:
        return
    if any(command.owner == OURS for command in commands.values()):
        yield f"of the commands that both packages provide, those of {OURS} run in flyte"
    yield (
        f"to have all of {THEIRS}'s own again: pip uninstall {OURS}, which takes the shared files away as well, and "
        f"then {_REINSTALL} {theirs}"
    )


def _is_elsewhere(found: Module, path: str) -> bool:
    """Whether a file is not the one that a reinstallation of ours would replace."""
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
        nobody = "no file" if found.file is None else f"nobody known: {found.file}"
        yield f"{name}: {found.owner or nobody}"
    for name, command in ownership.commands.items():
        yield f"flyte {name}: {command.owner or 'no such command'}"
    for advice in ownership.advice:
        yield f"- {advice}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints it. The exit code is 0 when the class is Gatekey's, and 1 when it is not."""
    parser = argparse.ArgumentParser(
        prog="python -m gatekey.flyte.ownership",
        description="Tells which package owns flyteplugins.union.remote.ApiKey here. Exits with 0 if Gatekey does.",
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="how to print")
    chosen = parser.parse_args(arguments)
    found = find()
    if chosen.output == "json":
        print(json.dumps(asdict(found), indent=2))
    else:
        print("\n".join(_text(found)))
    return 0 if found.is_ours else 1


if __name__ == "__main__":
    sys.exit(main())
