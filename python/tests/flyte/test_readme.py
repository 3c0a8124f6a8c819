"""The Python example of the README, run as it stands beside what quickstart prints."""

import re
import sys
from pathlib import Path

from support.gatekey import BINARY, REPOSITORY, background, run


def blocks(language: str) -> list[str]:
    """The README's blocks of code in a language."""
    readme = (REPOSITORY / "README.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)


def test_it_prints_what_the_readme_says(tmp_path: Path) -> None:
    (example,) = blocks("python")
    (promised,) = blocks("text")

    arguments = ("quickstart", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0")
    with background(BINARY, *arguments) as quickstart:
        told = "".join(quickstart.lines_up_to("Serving until"))
        (config,) = re.findall(r"cat > config.yaml <<'END'\n(.*?)END\n", told, re.DOTALL)
        (tmp_path / "config.yaml").write_text(config)
        printed = run(sys.executable, "-c", example, cwd=tmp_path)

    key, *names = printed.splitlines()
    promised_key, *promised_names = promised.splitlines()
    assert key.startswith(promised_key.partition("=")[0] + "=")
    assert names == promised_names
