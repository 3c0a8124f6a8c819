"""One script for every implementation of the documented class, whose outputs are compared.

Usage: script.py plain|aio PREFIX, with FLYTE_API_KEY for the server and an admin. Prints JSON: the
result of each step, with secrets and dates replaced by their shape. All of its keys start with
PREFIX.
"""

import asyncio
import base64
import copy
import dataclasses
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from flyteplugins.union.remote import ApiKey

try:
    import flyte
except ImportError:
    pass
else:
    flyte.init_from_api_key()

AWAITED = sys.argv[1] == "aio"
PREFIX = sys.argv[2]


def call(method: Any, *arguments: Any, **options: Any) -> Any:
    if not AWAITED:
        return method(*arguments, **options)

    async def awaited() -> Any:
        return await method.aio(*arguments, **options)

    return asyncio.run(awaited())


def listed(**options: Any) -> list[Any]:
    if not AWAITED:
        return list(ApiKey.listall(**options))

    async def awaited() -> list[Any]:
        return [key async for key in ApiKey.listall.aio(**options)]

    return asyncio.run(awaited())


def shape(text: str) -> str:
    """A text without values that differ between two runs."""
    text = text.replace(PREFIX, "PREFIX")
    text = re.sub(r"gk_[0-9A-Za-z]{37}", "SECRET", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "DATE", text)


def shown(key: Any) -> dict[str, Any]:
    """Everything that a caller can see of a key."""
    encoded = key.encoded_credentials
    return {
        "client_id": shape(key.client_id),
        "client_name": shape(key.client_name),
        "client_secret": shape(key.client_secret),
        "organization": key.organization,
        "encoded_credentials": encoded and shape(base64.b64decode(encoded).decode()),
        "to_dict": json.loads(shape(json.dumps(key.to_dict()))),
        "order of to_dict": list(key.to_dict()),
        "to_json": shape(key.to_json()),
        "rich": [[name, shape(value)] for name, value in key.__rich_repr__()],
        "message": key.pb2.DESCRIPTOR.full_name,
        "fields": [field.name for field in dataclasses.fields(key)],
        "equal to its copies": [
            key == copy.copy(key),
            key == copy.deepcopy(key),
            key == dataclasses.replace(key),
            key == type(key)(key.pb2, key.organization, key.encoded_credentials),
            key == dataclasses.replace(key, organization="other"),
            key == "key",
        ],
        "hashable": type(key).__hash__ is not None,
    }


def code(error: Exception) -> str:
    """The name of a refused call's status, in each generation."""
    found: Any = getattr(error, "code", None)
    found = found() if callable(found) else found
    return str(getattr(found, "name", found) or type(error).__name__).lower()


def outcome(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Exception as error:
        return {"failed": code(error)}


def of_these(keys: list[Any]) -> list[str]:
    return [shape(key.client_id) for key in keys if key.client_id.startswith(PREFIX)]


uris = ["https://ci.example.com/callback", "http://localhost:9000/callback"]
steps: dict[str, Callable[[], Any]] = {
    "create": lambda: shown(call(ApiKey.create, name=f"{PREFIX} Nightly Build!")),
    "create by position": lambda: shown(call(ApiKey.create, f"{PREFIX}-position")),
    "create with redirect URIs": lambda: shown(
        call(ApiKey.create, name=f"{PREFIX}-uris", redirect_uris=uris)
    ),
    "create with an empty list": lambda: shown(call(ApiKey.create, name=f"{PREFIX}-none", redirect_uris=[])),
    "create again": lambda: shown(call(ApiKey.create, name=f"{PREFIX}-uris")),
    "create with a name of the same client id": lambda: shown(call(ApiKey.create, name=f"{PREFIX}_URIS")),
    "create with an invalid redirect URI": lambda: shown(
        call(ApiKey.create, name=f"{PREFIX}-bad", redirect_uris=["http://ci.example.com/callback"])
    ),
    "create with a name without ASCII": lambda: shown(call(ApiKey.create, name="\u591c\u9593")),
    "create with options by position": lambda: shown(call(ApiKey.create, f"{PREFIX}-keyword", uris)),
    "get": lambda: shown(call(ApiKey.get, client_id=f"{PREFIX}-uris")),
    "get by position": lambda: shown(call(ApiKey.get, f"{PREFIX}-uris")),
    "get a missing key": lambda: shown(call(ApiKey.get, client_id=f"{PREFIX}-missing")),
    "get nothing": lambda: shown(call(ApiKey.get, client_id="")),
    "listall": lambda: of_these(listed(limit=1000)),
    "listall with a limit": lambda: len(listed(limit=2)),
    "listall with the limit by position": lambda: len(list(ApiKey.listall(2))),
    "listed": lambda: [shown(key) for key in listed(limit=1000) if key.client_id == f"{PREFIX}-uris"],
    "update the name": lambda: shown(call(ApiKey.update, client_id=f"{PREFIX}-uris", client_name="renamed")),
    "update the redirect URIs": lambda: shown(
        call(ApiKey.update, client_id=f"{PREFIX}-none", redirect_uris=["https://new.example.com/callback"])
    ),
    "update nothing": lambda: shown(call(ApiKey.update, client_id=f"{PREFIX}-position")),
    "update with an invalid redirect URI": lambda: shown(
        call(ApiKey.update, client_id=f"{PREFIX}-position", redirect_uris=["nonsense"])
    ),
    "update a missing key": lambda: shown(
        call(ApiKey.update, client_id=f"{PREFIX}-missing", client_name="x")
    ),
    "get after the updates": lambda: [
        shown(call(ApiKey.get, client_id=f"{PREFIX}-{name}")) for name in ("uris", "none", "position")
    ],
    "delete": lambda: call(ApiKey.delete, client_id=f"{PREFIX}-position"),
    "delete again": lambda: call(ApiKey.delete, client_id=f"{PREFIX}-position"),
    "listall after the deletions": lambda: of_these(listed(limit=1000)),
}
print(json.dumps({name: outcome(step) for name, step in steps.items()}))
