"""Ctrl-C and interpreter exit during calls neither hang nor crash."""

import signal

import pytest

from scripts import outcome, run_script, start_script
from servers import SilentServer
from support.gatekey import TIMEOUT_SECONDS, Credentials

BLOCKED = {
    "plain": 'ApiKey.get("ci")',
    "listed": "list(ApiKey.listall(limit=None))",
    "aio": 'asyncio.run(ApiKey.get.aio("ci"))',
}


@pytest.mark.parametrize("form", BLOCKED)
def test_ctrl_c_interrupts_a_hanging_call(silence: SilentServer, form: str) -> None:
    with start_script(
        f"""
        import asyncio
        from gatekey import ApiKey
        try:
            {BLOCKED[form]}
        except KeyboardInterrupt:
            print("interrupted")
        """,
        env={"FLYTE_API_KEY": silence.encoded_credentials},
    ) as process:
        assert silence.accepted.acquire(timeout=TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        # The timeout of the call is 30 s, so the interrupt ended it.
        out, err = process.communicate(timeout=15)
    assert (process.returncode, out, err) == (0, "interrupted\n", "")


@pytest.mark.parametrize("form", ["listed()", "asyncio.run(awaited())"])
def test_ctrl_c_ends_a_long_listing(admin: Credentials, form: str) -> None:
    # Each loops in one statement: asyncio handles a signal while an event loop starts or ends.
    with start_script(
        f"""
        import asyncio
        from gatekey import ApiKey

        def listed():
            print("begins", flush=True)
            while True:
                for _ in ApiKey.listall(limit=None):
                    pass

        async def awaited():
            print("begins", flush=True)
            while True:
                async for _ in ApiKey.listall.aio(limit=None):
                    pass

        ApiKey.get("admin")
        try:
            {form}
        except KeyboardInterrupt:
            print("interrupted", ApiKey.get("admin").client_id)
        """
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        process.send_signal(signal.SIGINT)
        assert outcome(process) == (0, "interrupted admin\n", "")


def test_an_unhandled_ctrl_c_ends_the_process(silence: SilentServer) -> None:
    env = {"FLYTE_API_KEY": silence.encoded_credentials}
    with start_script("from gatekey import ApiKey; ApiKey.get('ci')", env=env) as process:
        assert silence.accepted.acquire(timeout=TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        code, _, err = outcome(process)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err


def test_a_handled_signal_does_not_end_a_call(admin: Credentials, silence: SilentServer) -> None:
    printed = run_script(
        f"""
        import signal, time
        import gatekey
        signal.signal(signal.SIGALRM, lambda *_: print("rang"))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        gatekey.init(api_key={silence.encoded_credentials!r}, timeout=0.5)
        try:
            gatekey.ApiKey.get("ci")
        except gatekey.DeadlineExceededError:
            print("late")
        """
    )
    assert printed.split() == ["rang", "late"]


@pytest.mark.parametrize("form", BLOCKED)
def test_the_interpreter_may_exit_during_a_call(silence: SilentServer, form: str) -> None:
    printed = run_script(
        f"""
        import asyncio, socket, threading, time
        from gatekey import ApiKey
        threading.Thread(target=lambda: {BLOCKED[form]}, daemon=True).start()
        time.sleep(0.2)
        print("ends")
        """,
        env={"FLYTE_API_KEY": silence.encoded_credentials},
    )
    assert printed == "ends\n"


@pytest.mark.parametrize("form", ["plain", "aio"])
def test_the_interpreter_may_exit_during_many_calls(admin: Credentials, form: str) -> None:
    for _ in range(5):
        printed = run_script(
            f"""
            import threading, time
            from other_process import look_up, look_up_awaited
            work = look_up if {form!r} == "plain" else look_up_awaited

            def call_on_and_on():
                while True:
                    work("admin")

            work("admin")
            for _ in range(8):
                threading.Thread(target=call_on_and_on, daemon=True).start()
            print("ends")
            """
        )
        assert printed == "ends\n"


def test_an_exit_handler_may_call(admin: Credentials) -> None:
    printed = run_script(
        """
        import atexit
        from other_process import look_up
        atexit.register(lambda: print(look_up("admin")))
        print(look_up("admin"))
        """
    )
    assert printed.split() == ["admin", "admin"]
