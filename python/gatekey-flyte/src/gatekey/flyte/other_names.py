"""Finds flyteplugins-union's names in a package whose `__init__.py` is Gatekey's.

Both install `flyteplugins/union/remote/__init__.py`, and pip keeps the file of the package that was
installed last. The other names of flyteplugins-union are defined in private modules beside it,
which remain.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from pathlib import Path

_OTHER_PACKAGE = "flyteplugins-union"


def find(name: str, package: str) -> object:
    """Returns the object that flyteplugins-union's `__init__.py` of a package has under a name.

    For the `__getattr__` of the package.

    Raises:
        AttributeError: If the name does not exist. For `from package import name`, it is an
            ImportError with the same text, because Python replaces the text of an AttributeError.
    """
    module = sys.modules[package]
    if name.startswith("_"):
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=module)
    beside = [file for location in module.__path__ for file in sorted(Path(location).glob("*.py"))]
    if any(file.stem == name for file in beside):
        # A module in the package: Python imports it after this AttributeError.
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=module)
    # Search the text of the modules, to import only the one that defines the name.
    definition = re.compile(rf"^(?:(?:class|def|async def) +{re.escape(name)}\b|{re.escape(name)} *[:=])", re.MULTILINE)
    for file in beside:
        if file.stem.startswith("_") and file.stem != "__init__" and definition.search(file.read_text("utf-8")):
            found = getattr(importlib.import_module(f"{package}.{file.stem}"), name)
            setattr(module, name, found)
            return found
    if _is_from_import():
        message = f"cannot import name {name!r} from {package!r}: {_whose()}"
        raise ImportError(message, name=package, path=module.__file__)
    raise AttributeError(f"module {package!r} has no attribute {name!r}: {_whose()}", name=name, obj=module)


def _whose() -> str:
    try:
        version = importlib.metadata.version(_OTHER_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return f"names other than ApiKey belong to {_OTHER_PACKAGE}, which is not installed"
    return f"names other than ApiKey belong to {_OTHER_PACKAGE}, and the installed version {version} lacks this one"


def _is_from_import() -> bool:
    # The frames between are those of this function, `find` and `__getattr__`.
    return sys._getframe(3).f_code.co_name == "_handle_fromlist"  # pyright: ignore[reportPrivateUsage]
