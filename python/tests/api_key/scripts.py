"""Runs scripts in a new Python process, to test how a process starts and ends."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from support.gatekey import TIMEOUT_SECONDS

# A shell makes background processes ignore Ctrl-C, and Python inherits that.
HEEDS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def start_script(source: str, *, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts a script that can import this folder's modules."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", HEEDS_CTRL_C + textwrap.dedent(source)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_script(source: str, *, env: Mapping[str, str] | None = None) -> str:
    """Runs a script that must succeed, and returns its output."""
    with start_script(source, env=env) as process:
        code, out, err = outcome(process)
    assert (code, err) == (0, ""), f"the script ended with {code}:\n{out}{err}"
    return out


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Waits for a script, and returns its exit code, output and errors."""
    try:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
    return process.returncode, out, err
