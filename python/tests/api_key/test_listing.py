"""`listall`: fetches pages lazily, up to the limit."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

import gatekey
from calls import Calls
from gatekey import ApiKey
from servers import LoggedServer, serve_and_log
from support.gatekey import Credentials

# Including the admin's: more than one page, and fewer than two.
KEYS = 130


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedServer]:
    """A server with a fixed number of keys."""
    with serve_and_log(tmp_path_factory.mktemp("listing") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def admin_key(server: LoggedServer) -> Credentials:
    key = server.init("admin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEKEY_API_KEY", key.encoded_credentials)
        patch.setenv("GATEKEY_CA_FILE", str(server.ca_file))
        for number in range(KEYS - 1):
            ApiKey.create(f"listed-{number:03}")
    return key


@pytest.mark.parametrize(
    ("limit", "expected", "pages"),
    [(0, 0, 0), (1, 1, 1), (100, 100, 1), (101, 101, 2), (KEYS, KEYS, 2), (KEYS + 1, KEYS, 2), (10_000, KEYS, 2)],
)
def test_the_limit_is_exact_and_needs_fewest_pages(
    calls: Calls, server: LoggedServer, limit: int, expected: int, pages: int
) -> None:
    server.calls()
    found = calls.listall(limit=limit)
    assert len({key.client_id for key in found}) == len(found) == expected
    assert server.calls() == ["AppsService/List"] * pages


def test_without_a_limit_all_keys_are_listed(calls: Calls) -> None:
    assert len(calls.listall(limit=None)) == KEYS


def test_the_default_limit_is_one_hundred(calls: Calls) -> None:
    assert len(calls.listall()) == 100


def test_pages_are_fetched_lazily(admin: Credentials, server: LoggedServer) -> None:
    keys = ApiKey.listall(limit=None)
    assert isinstance(keys, Iterator)
    server.calls()

    def calls_for(number: int) -> list[str]:
        for _ in range(number):
            next(keys)
        return server.calls()

    assert calls_for(0) == []
    assert calls_for(1) == ["AppsService/List"]
    assert calls_for(99) == []
    assert calls_for(1) == ["AppsService/List"]
    assert len(list(keys)) == KEYS - 101
    assert server.calls() == []


def test_awaited_pages_are_fetched_lazily(admin: Credentials, server: LoggedServer) -> None:
    async def listed() -> list[list[str]]:
        keys = ApiKey.listall.aio(limit=None)
        assert isinstance(keys, AsyncIterator)
        server.calls()
        seen = []
        for number in (0, 1, 99, 1):
            for _ in range(number):
                await anext_of(keys)
            seen.append(server.calls())
        await keys.aclose()
        return seen

    one = ["AppsService/List"]
    assert asyncio.run(listed()) == [[], one, [], one]


async def anext_of(keys: AsyncIterator[ApiKey]) -> ApiKey:
    return await keys.__anext__()


def test_a_listing_checks_its_arguments_at_once(admin: Credentials) -> None:
    for form in (ApiKey.listall, ApiKey.listall.aio):
        with pytest.raises(TypeError):
            form(5)
        with pytest.raises(OverflowError, match="limit must not be negative"):
            form(limit=-1)
        with pytest.raises(TypeError, match="limit must be an int or None, not str"):
            form(limit="10")  # type: ignore[arg-type]


def test_a_listing_raises_at_the_next_key(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("FLYTE_API_KEY", calls.create("not-an-admin").encoded_credentials)
        with pytest.raises(gatekey.PermissionDeniedError):
            calls.listall(limit=None)
    calls.delete("not-an-admin")


def test_two_listings_at_once_do_not_mix(admin: Credentials) -> None:
    pairs = list(zip(ApiKey.listall(limit=None), ApiKey.listall(limit=None), strict=True))
    assert len(pairs) == KEYS
    assert all(left.client_id == right.client_id for left, right in pairs)


def test_a_listing_may_be_abandoned(admin: Credentials) -> None:
    for _ in range(20):
        next(ApiKey.listall(limit=None))

    async def leave() -> None:
        async for _ in ApiKey.listall.aio(limit=None):
            break

    asyncio.run(leave())
