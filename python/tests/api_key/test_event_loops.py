"""Awaited calls: in many loops, cancelled, and in loops that end before their calls."""

import asyncio
import os
from pathlib import Path

import pytest

import gatekey
from gatekey import ApiKey
from scripts import run_script
from servers import SilentServer
from support.gatekey import TIMEOUT_SECONDS, Credentials


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_loops_leave_no_open_files(admin: Credentials) -> None:
    async def look_up() -> str:
        return (await ApiKey.get.aio("admin")).client_id

    asyncio.run(look_up())
    before = open_files()
    for _ in range(200):
        assert asyncio.run(look_up()) == "admin"
    assert open_files() < before + 20


def test_two_hundred_concurrent_calls_work(admin: Credentials, name: str) -> None:
    ApiKey.create(name)

    async def look_up() -> list[ApiKey]:
        return await asyncio.gather(*(ApiKey.get.aio(name) for _ in range(200)))

    assert [key.client_id for key in asyncio.run(look_up())] == [name] * 200


def test_other_tasks_run_during_an_awaited_call(silence: SilentServer) -> None:
    gatekey.init(api_key=silence.encoded_credentials, timeout=2 * TIMEOUT_SECONDS)

    async def look_up_and_count() -> int:
        call = asyncio.ensure_future(ApiKey.get.aio("ci"))
        count = 0
        while not silence.accepted.acquire(blocking=False):
            count += 1
            await asyncio.sleep(0)
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return count

    assert asyncio.run(look_up_and_count()) > 0


def test_the_next_call_works_after_a_cancelled_one(admin: Credentials, silence: SilentServer) -> None:
    async def give_up_and_look_up() -> str:
        gatekey.init(api_key=silence.encoded_credentials)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ApiKey.get.aio("ci"), 0.2)
        gatekey.init(api_key=admin.encoded_credentials)
        return (await ApiKey.get.aio("admin")).client_id

    assert asyncio.run(give_up_and_look_up()) == "admin"


def test_a_cancelled_call_is_dropped_by_the_client(silence: SilentServer) -> None:
    gatekey.init(api_key=silence.encoded_credentials)

    async def give_up() -> None:
        call = asyncio.ensure_future(ApiKey.get.aio("ci"))
        while not silence.accepted.acquire(blocking=False):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    asyncio.run(give_up())
    silence.wait_for_hang_up()


def test_a_listing_may_be_cancelled_anywhere(admin: Credentials) -> None:
    async def give_up() -> int:
        seen = 0

        async def look() -> None:
            nonlocal seen
            while True:
                async for _ in ApiKey.listall.aio(limit=None):
                    seen += 1

        for patience in (0.0, 0.001, 0.01, 0.05):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(look(), patience)
        await asyncio.wait_for(anext_of_listing(), TIMEOUT_SECONDS)
        return seen

    asyncio.run(give_up())


async def anext_of_listing() -> ApiKey:
    async for key in ApiKey.listall.aio(limit=1):
        return key
    raise AssertionError


def test_the_blocking_form_works_inside_a_loop(admin: Credentials) -> None:
    async def look_up() -> tuple[str, str]:
        return ApiKey.get("admin").client_id, next(ApiKey.listall()).client_id

    assert asyncio.run(look_up())[0] == "admin"


def test_loops_in_many_threads_call_at_once(admin: Credentials) -> None:
    async def in_threads() -> list[str]:
        from other_process import look_up_awaited

        return await asyncio.gather(*(asyncio.to_thread(look_up_awaited, "admin") for _ in range(32)))

    assert asyncio.run(in_threads()) == ["admin"] * 32


def test_an_unawaited_call_sends_nothing(silence: SilentServer) -> None:
    gatekey.init(api_key=silence.encoded_credentials)
    ApiKey.get.aio("ci").close()
    assert not silence.accepted.acquire(blocking=False)


@pytest.mark.parametrize("how", ["close", "stop and forget"])
def test_a_loop_may_end_before_its_call_does(admin: Credentials, silence: SilentServer, how: str) -> None:
    printed = run_script(
        f"""
        import asyncio, gc, sys
        import gatekey
        from gatekey import ApiKey

        async def begin():
            gatekey.init(api_key={silence.encoded_credentials!r}, timeout=0.3)
            asyncio.ensure_future(ApiKey.get.aio("ci"))
            await asyncio.sleep(0.05)

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # Ignores the pending task.
        loop.run_until_complete(begin())
        if {how!r} == "close":
            loop.close()
        del loop
        gc.collect()
        gatekey.settings._given = None

        async def look_up():
            await asyncio.sleep(0.5)  # Meanwhile the call of the first loop ends.
            return (await ApiKey.get.aio("admin")).client_id

        print(asyncio.run(look_up()))
        sys.stderr = None  # Ignores the loop that was not closed.
        """
    )
    assert printed.strip() == "admin"


def test_a_loop_uses_one_file_descriptor_pair(admin: Credentials) -> None:
    async def count() -> int:
        await ApiKey.get.aio("admin")
        before = open_files()
        await asyncio.gather(*(ApiKey.get.aio("admin") for _ in range(50)))
        return open_files() - before

    assert asyncio.run(count()) <= 2
    assert os.getpid()
