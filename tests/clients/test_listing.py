"""`ApiKey.listall` with more keys than one page contains."""

import asyncio
import uuid

import pytest
from flyteplugins.union.remote import ApiKey

from support.gatekey import Credentials
from support.public_clients import Calls, log_in

# Three pages of the hundred keys that the public clients request; the last one is not full.
MANY = 250


@pytest.fixture(scope="module")
def many_keys(admin_key: Credentials) -> set[str]:
    """The client ids of many keys."""
    log_in(admin_key.encoded_credentials)
    prefix = f"many-{uuid.uuid4().hex[:12]}"

    async def create() -> list[ApiKey]:
        # Eight at a time, a realistic concurrency for a client.
        at_once = asyncio.Semaphore(8)

        async def create_one(number: int) -> ApiKey:
            async with at_once:
                return await ApiKey.create.aio(name=f"{prefix}-{number}")

        return await asyncio.gather(*(create_one(number) for number in range(MANY)))

    return {key.client_id for key in asyncio.run(create())}


@pytest.mark.generation("0.19.1")
def test_listall_follows_the_pages(many_keys: set[str], calls: Calls) -> None:
    assert many_keys <= {key.client_id for key in calls.listall(limit=1000)}


@pytest.mark.generation("0.1.1")
def test_listall_gets_all_keys_in_one_page(many_keys: set[str], calls: Calls) -> None:
    # This generation does not follow pages: it sees only the first one.
    assert many_keys <= {key.client_id for key in calls.listall(limit=1000)}


def test_listall_returns_each_key_once(many_keys: set[str], calls: Calls) -> None:
    listed = [key.client_id for key in calls.listall(limit=1000)]

    assert len(listed) == len(set(listed))


def test_listall_returns_a_hundred_keys_by_default(many_keys: set[str], calls: Calls) -> None:
    assert len(calls.listall()) == 100


def test_listall_stops_at_a_limit_within_a_page(many_keys: set[str], calls: Calls) -> None:
    assert len(calls.listall(limit=120)) == 120


def test_listall_has_a_stable_order(many_keys: set[str], calls: Calls) -> None:
    first = [key.client_id for key in calls.listall(limit=1000)]

    assert [key.client_id for key in calls.listall(limit=1000)] == first
