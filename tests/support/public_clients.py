"""The public clients of either generation, and the differences between the two."""

import asyncio
import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flyte
import pytest
from flyte.remote._client.auth.errors import AuthenticationError
from flyteplugins.union.remote import ApiKey

VERSION = importlib.metadata.version("flyteplugins-union")

# The `flyte` command of this interpreter's virtual environment.
FLYTE = Path(sys.executable).parent / "flyte"

if VERSION == "0.1.1":
    from grpc.aio import AioRpcError as RpcError

    def code_of(error: RpcError) -> str:
        """The name of a refused call's status."""
        return str(error.code().name)

    def message_of(error: RpcError) -> str:
        """What a refused call's status says."""
        return str(error.details())

else:
    from connectrpc.errors import ConnectError as RpcError

    def code_of(error: RpcError) -> str:
        """The name of a refused call's status."""
        return str(error.code.name)

    def message_of(error: RpcError) -> str:
        """What a refused call's status says."""
        return str(error.message)


@contextmanager
def refused(code: str, saying: str = "") -> Iterator[None]:
    """Expects a call to be refused with a status code, and a message that contains a text."""
    with pytest.raises(RpcError) as caught:
        yield
    assert code_of(caught.value) == code
    assert saying in message_of(caught.value)


@contextmanager
def login_refused() -> Iterator[None]:
    """Expects the server to refuse a token for the key in use."""
    with pytest.raises(AuthenticationError, match="invalid_client"):
        yield


def log_in(encoded_credentials: str) -> None:
    """Makes all following calls use a key."""
    flyte.init_from_api_key(encoded_credentials)


class Calls:
    """The methods of `ApiKey`, called or awaited."""

    def __init__(self, *, awaited: bool) -> None:
        self._awaited = awaited

    def create(self, name: str, **options: Any) -> ApiKey:
        return self._call(ApiKey.create, name=name, **options)

    def get(self, client_id: str) -> ApiKey:
        return self._call(ApiKey.get, client_id=client_id)

    def update(self, client_id: str, **changes: Any) -> ApiKey:
        return self._call(ApiKey.update, client_id=client_id, **changes)

    def delete(self, client_id: str) -> None:
        self._call(ApiKey.delete, client_id=client_id)

    def listall(self, **options: Any) -> list[ApiKey]:
        if not self._awaited:
            return list(ApiKey.listall(**options))

        async def collect() -> list[ApiKey]:
            return [key async for key in ApiKey.listall.aio(**options)]

        return asyncio.run(collect())

    def _call(self, method: Any, **arguments: Any) -> Any:
        if not self._awaited:
            return method(**arguments)

        async def call() -> Any:
            return await method.aio(**arguments)

        return asyncio.run(call())
