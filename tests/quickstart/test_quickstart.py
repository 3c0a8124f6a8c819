"""`gatekey quickstart`, and the lines that it prints to copy, run exactly as printed."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.gatekey import BINARY, background, run

# The last line, printed once the server runs.
SERVING_ON = "Serving until"


@contextmanager
def quickstart(*arguments: str | Path, cwd: Path | None = None) -> Iterator[str]:
    """Runs quickstart during the test, and yields its output."""
    with background(BINARY, "quickstart", *arguments, cwd=cwd) as process:
        yield "".join(process.lines_up_to(SERVING_ON))


def lines_to_copy(printed: str) -> str:
    """The commands: behind the tour, each heading is followed by a paragraph of them."""
    _tour, *paragraphs = printed.split("\n\n")
    headings, blocks = paragraphs[0:-1:2], paragraphs[1:-1:2]
    assert len(headings) == len(blocks) == (4 if "Serving until" in printed else 3), printed
    assert all(heading.endswith(":") for heading in headings), printed
    return "\n".join(blocks) + "\n"


def path_of_tools() -> dict[str, str]:
    """A path with the public command line first, and the gatekey binary."""
    tools = (Path(sys.executable).parent, BINARY.parent, os.environ["PATH"])
    return {"PATH": os.pathsep.join(map(str, tools))}


def run_as_copied(printed: str) -> str:
    """Runs the lines as printed, in one shell, in an empty directory; each must succeed."""
    return run("bash", "-euxc", lines_to_copy(printed), env=path_of_tools())


def assert_complete(output: str) -> None:
    """Flyte's tools printed the key, then all keys as an admin; gatekey listed them, too."""
    assert output.count("ci-pipeline") >= 3, output
    assert "admin" in output


def test_its_lines_work_on_port_443(tmp_path: Path) -> None:
    with quickstart("--data-dir", tmp_path / "data") as printed:
        assert "--endpoint" not in printed, "port 443 is in use, so the test cannot use it"
        assert_complete(run_as_copied(printed))


def test_its_lines_work_on_another_port(tmp_path: Path) -> None:
    with quickstart("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0") as printed:
        assert "flyte --endpoint 127.0.0.1:" in printed
        output = run_as_copied(printed)
        assert_complete(output)
        assert '"caller":"ci-pipeline"' in output


def test_its_lines_work_in_another_working_directory(tmp_path: Path) -> None:
    with quickstart("--listen", "127.0.0.1:0", cwd=tmp_path) as printed:
        assert (tmp_path / "gatekey-data").is_dir()
        assert_complete(run_as_copied(printed))


def test_its_lines_work_with_a_quoted_directory(tmp_path: Path) -> None:
    with quickstart("--data-dir", tmp_path / "it's my data", "--listen", "127.0.0.1:0") as printed:
        assert_complete(run_as_copied(printed))


def test_its_lines_work_when_it_runs_again(tmp_path: Path) -> None:
    run(BINARY, "quickstart", "--once", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0")

    with quickstart("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0") as printed:
        assert_complete(run_as_copied(printed))


def test_its_lines_work_after_the_next_start(tmp_path: Path) -> None:
    with quickstart("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:443") as printed:
        pass
    _, _, next_time = printed.rpartition("Next time: ")

    # With exec, the server gets the signal, not the shell.
    with background("bash", "-c", f"exec {next_time}", env=path_of_tools()) as server:
        server.lines_up_to("serving")
        assert_complete(run_as_copied(printed))


@pytest.mark.parametrize("times", [1, 2, 12])
def test_once_can_be_repeated(tmp_path: Path, times: int) -> None:
    for _ in range(times):
        printed = run(
            BINARY, "quickstart", "--once", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0"
        )
    assert SERVING_ON not in printed
    assert "FLYTE_API_KEY" in lines_to_copy(f"{printed}\n\nend")
