"""Concurrent threads, and processes that fork or spawn at any time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import gatekey
from gatekey import ApiKey
from scripts import run_script
from servers import SilentServer
from support.gatekey import TIMEOUT_SECONDS, Credentials


def test_other_threads_run_during_a_call(silence: SilentServer) -> None:
    gatekey.init(api_key=silence.encoded_credentials, timeout=2 * TIMEOUT_SECONDS)
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            ApiKey.get("ci")
        except gatekey.Error as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert silence.accepted.acquire(timeout=TIMEOUT_SECONDS)
    # If the call held the GIL, this would run only after it.
    began = time.monotonic()
    assert sum(range(1_000_000))
    assert waiting.is_alive()
    assert time.monotonic() - began < TIMEOUT_SECONDS
    silence.hang_up()
    waiting.join(TIMEOUT_SECONDS)
    assert [type(error) for error in failed] == [gatekey.UnavailableError]


def test_threads_call_at_once(admin: Credentials, name: str) -> None:
    ApiKey.create(name)

    def look_up(_: int) -> bool:
        return ApiKey.get(name).client_id == name and next(ApiKey.listall()).client_id != ""

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(look_up, range(320)))


def test_the_first_calls_may_come_from_many_threads(admin: Credentials) -> None:
    printed = run_script(
        """
        import threading
        from gatekey import ApiKey
        gate, found = threading.Barrier(32), []

        def look_up():
            gate.wait()
            found.append(ApiKey.get("admin").client_id)

        threads = [threading.Thread(target=look_up) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(found == ["admin"] * 32)
        """
    )
    assert printed.strip() == "True"


# Runs `work` in a forked child, and prints how it ended.
FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
from other_process import look_up, look_up_awaited

def forked(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize("here", ["look_up", "look_up_awaited", "len"])
@pytest.mark.parametrize("there", ["look_up", "look_up_awaited"])
def test_parent_and_forked_child_both_call(admin: Credentials, here: str, there: str) -> None:
    # With `len`, the child makes the first call.
    printed = run_script(
        FORKED
        + f"""
{here}("admin")
print(forked(lambda: {there}("admin") == "admin"), forked(lambda: forked(lambda: {there}("admin") == "admin") == 0))
print(look_up("admin"), look_up_awaited("admin"))
"""
    )
    assert printed.split() == ["0", "0", "admin", "admin"]


def test_a_fork_during_other_threads_calls_works(admin: Credentials) -> None:
    printed = run_script(
        FORKED
        + """
import threading
stopped = threading.Event()

def call_on_and_on():
    while not stopped.is_set():
        look_up("admin")

threads = [threading.Thread(target=call_on_and_on) for _ in range(4)]
for thread in threads:
    thread.start()
print({forked(lambda: look_up("admin") == "admin") for _ in range(12)})
print({forked(lambda: look_up_awaited("admin") == "admin") for _ in range(6)})
stopped.set()
for thread in threads:
    thread.join()
print(look_up("admin"))
"""
    )
    assert printed.split() == ["{0}", "{0}", "admin"]


def test_a_fork_during_a_hanging_call_works(admin: Credentials, silence: SilentServer) -> None:
    printed = run_script(
        FORKED
        + f"""
import threading, gatekey, socket
from gatekey import ApiKey
look_up("admin")
hanging = gatekey.settings.Client(api_key={silence.encoded_credentials!r}, timeout=60)
threading.Thread(target=hanging.get("ci").wait, daemon=True).start()
print(forked(lambda: look_up("admin") == "admin"), look_up("admin"))
"""
    )
    assert printed.split() == ["0", "admin"]


def test_a_listing_fails_in_a_forked_child(admin: Credentials) -> None:
    # Its connection belongs to the parent, where the listing continues.
    printed = run_script(
        FORKED
        + """
import gatekey
from gatekey import ApiKey
for number in range(101):
    try:
        ApiKey.create(f"forked-{number:03}")
    except gatekey.AlreadyExistsError:
        pass
keys = ApiKey.listall(limit=None)
first = [next(keys) for _ in range(100)]

def is_refused():
    try:
        list(keys)
    except gatekey.Error as error:
        return error.code == "canceled" and "forked" in str(error)

print(forked(is_refused), len(list(keys)) > 0, forked(lambda: len(list(ApiKey.listall(limit=None))) > 100))
"""
    )
    assert printed.split() == ["0", "True", "0"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("work", ["look_up", "look_up_awaited"])
def test_pool_processes_can_call(admin: Credentials, method: str, work: str) -> None:
    printed = run_script(
        f"""
        import multiprocessing, warnings
        warnings.simplefilter("ignore")
        from other_process import look_up, {work}

        if __name__ == "__main__":
            look_up("admin")
            with multiprocessing.get_context({method!r}).Pool(4) as pool:
                print(pool.map({work}, ["admin"] * 12) == ["admin"] * 12)
        """
    )
    assert printed.strip() == "True"
