"""Measures the class `ApiKey` of this build beside the public ones, in one run against one server.

See `bench/run python --help`. Uses the standard library only; each client runs in its own virtual
environment.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.gatekey import Credentials, Server, serve  # noqa: E402

ORIGINALS = ("0.1.1", "0.19.1")

# Each script is a process that prints its own figures as JSON.
LOG_IN = """
import flyte
flyte.init_from_api_key()
"""
GET = """
from flyteplugins.union.remote import ApiKey
{log_in}
assert ApiKey.get(client_id="admin").client_id == "admin"
"""
REPORT = """
import json, resource
print(json.dumps({"seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
FRESH = GET + "seconds = 0\n" + REPORT
SEQUENTIAL = (
    GET
    + """
import time
began = time.perf_counter()
for _ in range({gets}):
    ApiKey.get(client_id="admin")
seconds = time.perf_counter() - began
"""
    + REPORT
)
LISTING = (
    GET
    + """
import time
began = time.perf_counter()
found = sum(1 for key in ApiKey.listall(limit={keys}) if key.client_id)
seconds = time.perf_counter() - began
assert found == {keys}, found
"""
    + REPORT
)
FILL = """
import asyncio
from gatekey import ApiKey
async def make(numbers):
    for number in numbers:
        await ApiKey.create.aio(name=f"key-{number}")
async def main():
    numbers = iter(range({keys} - 1))
    await asyncio.gather(*(make(numbers) for _ in range(64)))
asyncio.run(main())
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run python", description=__doc__)
    parser.add_argument("--ours", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=11, help="fresh processes of each client (default 11)")
    parser.add_argument("--gets", type=int, default=1000, help="gets in a row (default 1000)")
    parser.add_argument("--keys", type=int, default=10_000, help="keys to list (default 10,000)")
    return parser.parse_args()


class Client:
    """An implementation of the class in a virtual environment."""

    def __init__(self, name: str, python: Path, server: Server, admin: Credentials) -> None:
        self.name = name
        self._python = python
        self._log_in = "" if name == "gatekey" else LOG_IN
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(server.data_dir),
            "FLYTE_API_KEY": admin.encoded_credentials,
            # Otherwise the clients send telemetry and look for a desktop keyring.
            "DO_NOT_TRACK": "1",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            **server.trust,
        }

    def run(self, script: str, **values: int) -> tuple[float, dict[str, float]]:
        """Runs a script in a fresh process; returns its duration in seconds and its output."""
        text = script.replace("{log_in}", self._log_in)
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value))
        with tempfile.TemporaryDirectory() as empty:
            command = [sys.executable, "-c", TIMED, str(self._python), "-c", text]
            done = subprocess.run(command, env=self._env, cwd=empty, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{self.name} failed:\n{done.stderr}")
        *printed, timed = done.stdout.splitlines()
        return float(timed), json.loads(printed[-1]) if printed else {}


# Times a command from outside, in an otherwise idle process.
TIMED = """
import subprocess, sys, time
began = time.perf_counter()
code = subprocess.call(sys.argv[1:])
print(time.perf_counter() - began)
sys.exit(code)
"""


def spread(values: list[float], unit: str, scale: float = 1) -> str:
    low, middle, high = (scale * value for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:8.1f} {unit} ({low:.1f}-{high:.1f})"


def fresh_processes(clients: list[Client], rounds: int) -> None:
    print(f"\nA fresh process: import, and one get ({rounds} rounds, taken in turn)")
    seconds: dict[str, list[float]] = {client.name: [] for client in clients}
    memory: dict[str, list[float]] = {client.name: [] for client in clients}
    floor: list[float] = []
    for client in clients:
        client.run(FRESH)
    for _ in range(rounds):
        floor.append(clients[0].run("pass")[0])
        for client in clients:
            took, report = client.run(FRESH)
            seconds[client.name].append(took)
            memory[client.name].append(report["mib"])
    print(f"  {'python -c pass':16} {spread(floor, 'ms', 1000)}")
    ours = statistics.median(seconds[clients[0].name])
    for client in clients:
        ratio = ours / statistics.median(seconds[client.name])
        print(
            f"  {client.name:16} {spread(seconds[client.name], 'ms', 1000):32} gatekey takes {ratio:.3f} of it"
            f"   peak {statistics.median(memory[client.name]):.0f} MiB"
        )


def in_one_process(title: str, clients: list[Client], script: str, **values: int) -> None:
    print(f"\n{title} (medians of 3)")
    ours = None
    for client in clients:
        reports = [client.run(script, **values)[1] for _ in range(3)]
        seconds = statistics.median(report["seconds"] for report in reports)
        memory = statistics.median(report["mib"] for report in reports)
        ours = ours or seconds
        print(
            f"  {client.name:16} {1000 * seconds:8.0f} ms   gatekey takes {ours / seconds:.3f} of it   peak {memory:.0f} MiB"
        )


def main() -> None:
    given = arguments()
    with (
        tempfile.TemporaryDirectory() as directory,
        serve(Path(directory) / "data", listen="127.0.0.1:443") as server,
    ):
        admin = server.init("admin")
        pythons = {"gatekey": given.ours} | {v: REPOSITORY / ".venvs" / v / "bin" / "python" for v in ORIGINALS}
        clients = [Client(name, python, server, admin) for name, python in pythons.items()]
        fresh_processes(clients, given.rounds)
        in_one_process(f"{given.gets} gets in a row", clients, SEQUENTIAL, gets=given.gets)
        clients[0].run(FILL, keys=given.keys)
        # 0.1.1 reads only one page, so it cannot list all keys.
        listing = [client for client in clients if client.name != "0.1.1"]
        in_one_process(f"listall of {given.keys} keys", listing, LISTING, keys=given.keys)


if __name__ == "__main__":
    main()
