"""The gatekey binary, as a server during the test and as a command that the test waits for."""

import base64
import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BINARY = Path(os.environ.get("GATEKEY_BIN", REPOSITORY / "target" / "debug" / "gatekey")).absolute()

# How long anything may take; only a hang takes this long.
TIMEOUT_SECONDS = 60


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs a command that must succeed, with more environment variables, and returns its output."""
    done = attempt(*command, env=env, cwd=cwd)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def attempt(
    *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command that may fail."""
    return subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


class Background:
    """A process that runs during the test, and the lines that it prints."""

    def __init__(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # Read everything, or the process would block once the pipe is full.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def lines_up_to(self, text: str) -> list[str]:
        """Waits for a line that contains a text, and returns all lines up to and including it."""
        lines: list[str] = []
        while not lines or text not in lines[-1]:
            try:
                line = self._lines.get(timeout=TIMEOUT_SECONDS)
            except queue.Empty:
                line = None
            assert line is not None, f"{self._command} never printed {text!r}:\n{''.join(lines)}"
            lines.append(line)
        return lines

    def stop(self) -> int:
        """Terminates the process, and returns its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(TIMEOUT_SECONDS)
        finally:
            self._process.kill()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()


@contextmanager
def background(
    *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Background]:
    """Runs a process during the test, which must exit with 0 when terminated."""
    process = Background(command, env, cwd)
    try:
        yield process
    finally:
        code = process.stop()
    assert code == 0, f"{command} ended with {code}"


@dataclass(frozen=True)
class Credentials:
    """A key and its secret."""

    client_id: str
    client_secret: str
    encoded_credentials: str


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    data_dir: Path

    @property
    def endpoint(self) -> str:
        """Host, and port unless it is 443."""
        return self.url.removeprefix("https://")

    @property
    def ca_file(self) -> Path:
        """The certificate of its private CA."""
        return self.data_dir / "ca.pem"

    @property
    def trust(self) -> dict[str, str]:
        """Variables that make the public clients trust it: one for HTTP and Connect, one for gRPC."""
        bundle = str(self.data_dir / "ca-bundle.pem")
        return {"SSL_CERT_FILE": bundle, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": bundle}

    def init(self, name: str) -> Credentials:
        """Creates an admin key."""
        arguments = ("init", "--data-dir", self.data_dir, "--name", name, "--output", "json")
        return self._credentials(run(BINARY, *arguments))

    def command(self, caller: Credentials, *arguments: str) -> str:
        """Runs the binary as a client of this server, with a key."""
        env = {"GATEKEY_API_KEY": caller.encoded_credentials, "GATEKEY_CA_FILE": str(self.ca_file)}
        return run(BINARY, *arguments, env=env)

    def create(self, caller: Credentials, name: str) -> Credentials:
        """Creates a key."""
        return self.create_with_role(caller, name)

    def create_with_role(self, caller: Credentials, name: str, *role: str) -> Credentials:
        """Creates a key with a role, or with the default one."""
        return self._create(caller, name, *(("--role", *role) if role else ()))

    def create_without_role(self, caller: Credentials, name: str) -> Credentials:
        """Creates a key that may only view and rotate itself."""
        return self._create(caller, name, "--no-role")

    def _create(self, caller: Credentials, name: str, *flags: str) -> Credentials:
        return self._credentials(self.command(caller, "key", "create", name, *flags, "--output", "json"))

    def role(self, caller: Credentials, client_id: str) -> str | None:
        """The role of a key, which the public clients do not see."""
        printed = self.command(caller, "key", "get", client_id, "--output", "json")
        role: str | None = json.loads(printed).get("role")
        return role

    def rotate(self, caller: Credentials, client_id: str, *, grace: str) -> Credentials:
        """Rotates the secret of a key."""
        printed = self.command(caller, "key", "rotate", client_id, "--grace", grace, "--output", "json")
        return self._credentials(printed)

    @staticmethod
    def _credentials(printed: str) -> Credentials:
        values = json.loads(printed)
        return Credentials(values["client_id"], values["client_secret"], values["encoded_credentials"])


@contextmanager
def serve(data_dir: Path, *, listen: str, upstream: str | None = None) -> Iterator[Server]:
    """Runs a server, with a backend behind its gate or none."""
    command = (BINARY, "serve", "--data-dir", data_dir, "--listen", listen, "--log-format", "json")
    gate = () if upstream is None else ("--upstream", upstream)
    with background(*command, *gate) as process:
        serving = process.lines_up_to('"serving"')[-1]
        yield Server(url=json.loads(serving)["url"], data_dir=data_dir)


def decoded(encoded_credentials: str) -> tuple[str, str, str, str]:
    """Endpoint, client id, secret and organization, split as the public clients do it."""
    endpoint, client_id, client_secret, organization = (
        base64.b64decode(encoded_credentials).decode().split(":", 3)
    )
    return endpoint, client_id, client_secret, organization
