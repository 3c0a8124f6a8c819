"""`ApiKey` in a notebook, whose kernel always runs an event loop."""

import textwrap

import nbclient
import nbformat
import pytest

from examples import OF_THE_PUBLIC_CLASS, example
from gatekey import ApiKey
from support.gatekey import Credentials


def run_cells(*sources: str) -> list[str]:
    """Runs cells in a kernel, and returns the output of each."""
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(source)) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()

    def shown(output: nbformat.NotebookNode) -> str:
        return output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]

    return ["".join(map(shown, cell["outputs"])).strip() for cell in cells]


def test_a_call_works_in_a_cell(admin: Credentials, name: str) -> None:
    _, created, listed = run_cells(
        "from gatekey import ApiKey",
        f"ApiKey.create(name={name!r}).client_id",
        f"print({name!r} in [key.client_id for key in ApiKey.listall(limit=None)])",
    )
    assert (created, listed) == (repr(name), "True")


def test_a_call_is_awaited_in_a_cell(admin: Credentials, name: str) -> None:
    _, created, listed = run_cells(
        "from gatekey import ApiKey",
        f"(await ApiKey.create.aio({name!r})).client_id",
        f"{name!r} in [key.client_id async for key in ApiKey.listall.aio(limit=None)]",
    )
    assert (created, listed) == (repr(name), "True")


def test_both_forms_work_in_one_cell(admin: Credentials, name: str) -> None:
    (shown,) = run_cells(
        f"""
        from gatekey import ApiKey
        ApiKey.create({name!r})
        (await ApiKey.get.aio({name!r})) == ApiKey.get({name!r})
        """
    )
    assert shown == "True"


@pytest.mark.parametrize("call", ["ApiKey.create({name!r})", "await ApiKey.create.aio({name!r})"])
def test_a_cell_does_not_show_a_keys_secret(admin: Credentials, name: str, call: str) -> None:
    _, shown = run_cells("from gatekey import ApiKey", call.format(name=name))
    assert name in shown
    assert "gk_" not in shown


def test_an_interrupted_cell_leaves_the_kernel_usable(admin: Credentials, name: str) -> None:
    # A kernel is interrupted with SIGINT.
    _, shown = run_cells(
        f"""
        import os, signal, socket, threading
        import gatekey
        from gatekey import ApiKey
        silence = socket.create_server(("127.0.0.1", 0))
        gatekey.init("127.0.0.1:%d" % silence.getsockname()[1], client_id="ci", client_secret="s")

        def interrupt():
            silence.accept()
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        try:
            ApiKey.get({name!r})
        except KeyboardInterrupt:
            gatekey.settings._given = None
        """,
        f"ApiKey.create({name!r}).client_id",
    )
    assert shown == repr(name)


@pytest.mark.parametrize("code", [example(ApiKey), OF_THE_PUBLIC_CLASS], ids=["ours", "the public class's"])
def test_the_documented_examples_run_in_a_cell(admin: Credentials, code: str) -> None:
    _, shown = run_cells("from gatekey import ApiKey", code)
    assert "export FLYTE_API_KEY=" in shown
    assert "ci-pipeline: ci-pipeline" in shown
