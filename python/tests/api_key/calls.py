"""The operations of `ApiKey` in their two forms, to test both with the same code."""

import asyncio
from collections.abc import Callable
from typing import Any

from gatekey import ApiKey


class Calls:
    """The operations of `ApiKey`, either blocking or awaited."""

    def __init__(self, *, awaited: bool) -> None:
        self.awaited = awaited

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(ApiKey, name)
        if not self.awaited:
            return operation if name != "listall" else lambda **options: list(operation(**options))

        async def one(*arguments: Any, **options: Any) -> Any:
            return await operation.aio(*arguments, **options)

        async def many(**options: Any) -> list[ApiKey]:
            return [key async for key in operation.aio(**options)]

        chosen = many if name == "listall" else one
        return lambda *arguments, **options: asyncio.run(chosen(*arguments, **options))
