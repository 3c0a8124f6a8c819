"""Awaits calls: each event loop watches one file descriptor for calls that are done."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from typing import Any

from gatekey._native import Call, Waker


class _Waiting:
    """The calls that one event loop awaits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waker = Waker()
        self._ids = itertools.count()
        self._futures: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._waker.fileno(), self._settle)

    async def done(self, call: Call[Any]) -> None:
        number = next(self._ids)
        self._futures[number] = asyncio.get_running_loop().create_future()
        call.wake(self._waker, number)
        try:
            await self._futures[number]
        finally:
            del self._futures[number]

    def _settle(self) -> None:
        for number in self._waker.take_done():
            future = self._futures.get(number)
            # A missing or done future was cancelled.
            if future is not None and not future.done():
                future.set_result(None)


_WAITING: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Waiting] = weakref.WeakKeyDictionary()


async def done(call: Call[Any]) -> None:
    """Waits until the call is done."""
    loop = asyncio.get_running_loop()
    waiting = _WAITING.get(loop)
    if waiting is None:
        waiting = _WAITING[loop] = _Waiting(loop)
    await waiting.done(call)
