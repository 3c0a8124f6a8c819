"""Functions for other processes, which find them by the name of this module."""

import asyncio

from google.protobuf.message import Message

from gatekey import ApiKey


def its_parts(key: ApiKey, message: Message) -> tuple[str, str, str, bool]:
    """Returns the parts of a key."""
    return key.client_id, key.client_secret, key.to_json(), key.pb2 == message


def look_up(client_id: str) -> str:
    """Makes a blocking call."""
    return ApiKey.get(client_id).client_id


def look_up_awaited(client_id: str) -> str:
    """Makes an awaited call, in a new event loop."""

    async def awaited() -> str:
        return (await ApiKey.get.aio(client_id)).client_id

    return asyncio.run(awaited())
