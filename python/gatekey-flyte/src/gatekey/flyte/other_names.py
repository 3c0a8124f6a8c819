"""The names of a package of flyteplugins-union whose `__init__.py` is Gatekey's.

The two packages share `flyteplugins/union/remote/__init__.py`, and pip keeps the one that came last. What else
flyteplugins-union offers there lies in private modules beside it, which stay.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from pathlib import Path

_OTHER_PACKAGE = "flyteplugins-union"


def find(name: str, package: str) -> object:
    """What a package would offer under a name, were its `__init__.py` the one of flyteplugins-union.

    To be called by the `__getattr__` of the package.

    Raises:
        AttributeError: When there is no such name; for `from package import name` an ImportError with the same text,
            because Python puts a text of its own in place of an AttributeError's.
    """
    module = sys.modules[package]
    if name.startswith("_"):
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=module)
    beside = [file for location in module.__path__ for file in sorted(Path(location).glob("*.py"))]
    if any(file.stem == name for file in beside):
        # A module in the package: Python imports it once it knows that it is no attribute.
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=module)
    # Read, not imported, so that none is imported which has nothing to do with the name.
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
    return f"names other than ApiKey belong to {_OTHER_PACKAGE}, and {version}, which is installed, has none like it"


def _is_from_import() -> bool:
    # Itself, `find` and `__getattr__` are in between.
    return sys._getframe(3).f_code.co_name == "_handle_fromlist"  # pyright: ignore[reportPrivateUsage]
