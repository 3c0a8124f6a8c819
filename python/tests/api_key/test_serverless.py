"""Serverless endpoints, whose keys carry the caller's organization.

They are recognized by name, so a network namespace resolves one of the names to this machine.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import gatekey as support
from support.gatekey import TIMEOUT_SECONDS

HOST = "serverless-1.us-east-2.s.union.ai"
LOOPBACK = Path(support.__file__).with_name("loopback.py")


@pytest.fixture
def in_namespace(tmp_path: Path) -> list[str]:
    """Returns the command prefix that runs a command where this machine is the endpoint."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {HOST}\n")
    unshare = ["unshare", "--map-root-user", "--net", "--mount", sys.executable, str(LOOPBACK)]
    command = [*unshare, "sh", "-c", f'mount --bind "{hosts}" /etc/hosts && exec "$@"', "sh"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.CalledProcessError) as refusal:
        pytest.skip(f"no network namespace can be made here: {refusal}")
    return command


def test_the_caller_determines_client_id_and_organization(in_namespace: list[str], tmp_path: Path) -> None:
    arguments = (str(tmp_path / "data"), HOST)
    done = subprocess.run(
        [*in_namespace, sys.executable, str(Path(__file__).with_name("on_serverless.py")), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), str(LOOPBACK.parents[1])))},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["client_id"] for answer in answers] == ["serverless-1-acme-ci-pipeline"] * 4
    assert [answer["client_name"] for answer in answers] == ["serverless-1-acme-ci-pipeline"] * 4
    assert [answer["organization"] for answer in answers] == ["acme"] * 4
    created = base64.b64decode(answers[0]["encoded_credentials"]).decode().split(":")
    assert created == [HOST, "serverless-1-acme-ci-pipeline", answers[0]["client_secret"], "acme"]
