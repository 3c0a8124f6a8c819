"""`gatekey quickstart`, and the lines that it tells people to copy: they are run as they stand."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.gatekey import BINARY, background, run

# What it says last, once it serves and the lines are good.
SERVING_ON = "Serving until"


@contextmanager
def quickstart(*arguments: str | Path, cwd: Path | None = None) -> Iterator[str]:
    """Runs it while the test does; gives what it printed."""
    with background(BINARY, "quickstart", *arguments, cwd=cwd) as process:
        yield "".join(process.lines_up_to(SERVING_ON))


def lines_to_copy(printed: str) -> str:
    """The commands: behind the tour, each heading is followed by a paragraph of them."""
    _tour, *paragraphs = printed.split("\n\n")
    headings, blocks = paragraphs[0:-1:2], paragraphs[1:-1:2]
    assert len(headings) == len(blocks) == 3, printed
    assert all(heading.endswith(":") for heading in headings), printed
    return "\n".join(blocks) + "\n"


def path_of_tools() -> dict[str, str]:
    """The public command line first on the path, and our own binary."""
    tools = (Path(sys.executable).parent, BINARY.parent, os.environ["PATH"])
    return {"PATH": os.pathsep.join(map(str, tools))}


def run_as_copied(printed: str) -> str:
    """Runs the lines as they stand, in one shell, in an empty directory; every one of them must succeed."""
    return run("bash", "-euxc", lines_to_copy(printed), env=path_of_tools())


def assert_all_said(said: str) -> None:
    """Flyte's tools showed the key, then all keys as an admin; our own binary said whose key it has."""
    assert said.count("ci-pipeline") >= 3, said
    assert "admin" in said


def test_its_lines_work_on_port_443(tmp_path: Path) -> None:
    with quickstart("--data-dir", tmp_path / "data") as printed:
        assert "--endpoint" not in printed, "port 443 is taken, so this is not about it"
        assert_all_said(run_as_copied(printed))


def test_its_lines_work_on_another_port(tmp_path: Path) -> None:
    with quickstart("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0") as printed:
        assert "flyte --endpoint 127.0.0.1:" in printed
        assert_all_said(run_as_copied(printed))


def test_its_lines_work_from_elsewhere_when_the_directory_was_not_named(tmp_path: Path) -> None:
    with quickstart("--listen", "127.0.0.1:0", cwd=tmp_path) as printed:
        assert (tmp_path / "gatekey-data").is_dir()
        assert_all_said(run_as_copied(printed))


def test_its_lines_work_with_a_directory_that_a_shell_would_take_apart(tmp_path: Path) -> None:
    with quickstart("--data-dir", tmp_path / "it's my data", "--listen", "127.0.0.1:0") as printed:
        assert_all_said(run_as_copied(printed))


def test_its_lines_work_when_it_ran_before_on_the_same_directory(tmp_path: Path) -> None:
    run(BINARY, "quickstart", "--once", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0")

    with quickstart("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0") as printed:
        assert_all_said(run_as_copied(printed))


def test_its_lines_work_with_the_command_it_names_for_next_time(tmp_path: Path) -> None:
    with quickstart("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:443") as printed:
        pass
    _, _, next_time = printed.rpartition("Next time: ")

    # exec, so that it is the server and not the shell that is asked to end.
    with background("bash", "-c", f"exec {next_time}", env=path_of_tools()) as server:
        server.lines_up_to("serving")
        assert_all_said(run_as_copied(printed))


@pytest.mark.parametrize("times", [1, 2, 12])
def test_once_ends_well_however_often_it_ran(tmp_path: Path, times: int) -> None:
    for _ in range(times):
        printed = run(
            BINARY, "quickstart", "--once", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0"
        )
    assert SERVING_ON not in printed
    assert "FLYTE_API_KEY" in lines_to_copy(f"{printed}\n\nend")
