"""The README's Python example, run with quickstart's files, and quickstart's output."""

import re
import sys
from pathlib import Path

from support.gatekey import BINARY, REPOSITORY, background, run


def blocks(language: str) -> list[str]:
    """Returns the README's code blocks in a language."""
    readme = (REPOSITORY / "README.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)


def without_length(line: str) -> str:
    """Removes the length of the token from a line of quickstart."""
    return re.sub(r"of \d+ bytes", "", line)


def test_it_prints_what_the_readme_says(tmp_path: Path) -> None:
    (example,) = blocks("python")
    (promised,) = blocks("text")

    arguments = ("quickstart", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0")
    with background(BINARY, *arguments) as quickstart:
        quickstart.lines_up_to("Serving until")
        env = {"FLYTECTL_CONFIG": str(tmp_path / "data" / "flyte-admin.yaml")}
        printed = run(sys.executable, "-c", example, cwd=tmp_path, env=env)

    key, *names = printed.splitlines()
    promised_key, *promised_names = promised.splitlines()
    assert key.startswith(promised_key.partition("=")[0] + "=")
    assert names == promised_names


def test_quickstart_prints_what_the_readme_shows(tmp_path: Path) -> None:
    shown = [line for block in blocks("console") for line in block.splitlines() if line.startswith("ok ")]

    printed = run(BINARY, "quickstart", "--once", "--listen", "127.0.0.1:0", cwd=tmp_path)

    # The README shows another port and directory. The port changes the length of the token.
    printed = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", printed.replace(f"{tmp_path}/", "/srv/"))
    steps = [line for line in printed.splitlines() if line.startswith("ok ")]
    assert shown
    assert list(map(without_length, steps)) == list(map(without_length, shown))
