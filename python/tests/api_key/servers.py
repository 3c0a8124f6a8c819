"""Servers to call: a real one with a readable request log, a silent one, and an empty one."""

import base64
import json
import socket
import ssl
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.gatekey import BINARY, TIMEOUT_SECONDS, Background, Server, background

# The requests of a login, which a client sends once.
_LOGIN = ("/flyteidl2.auth.AuthMetadataService/", "/oauth2/token")


@dataclass(frozen=True)
class LoggedServer(Server):
    """A running server, and its log."""

    process: Background = field(repr=False)

    def requests(self) -> list[dict[str, Any]]:
        """Returns the requests that were logged since the last call of this method."""
        mark = uuid.uuid4().hex
        self.fetch("/.well-known/oauth-authorization-server", request_id=mark)
        lines = [json.loads(line) for line in self.process.lines_up_to(mark)[:-1]]
        return [line for line in lines if line["message"] == "request"]

    def calls(self) -> list[str]:
        """Returns the RPCs that were logged since the last call, without the login."""
        paths = [str(request["path"]) for request in self.requests()]
        return [path.removeprefix("/cloudidl.identity.") for path in paths if not path.startswith(_LOGIN)]

    def fetch(self, path: str, *, request_id: str = "test", body: object = None, token: str | None = None) -> Any:
        """Sends a JSON request, and returns the response."""
        headers = {"content-type": "application/json", "x-request-id": request_id}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        trusting = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(request, context=trusting) as answer:
            return json.load(answer)


@contextmanager
def serve_and_log(data_dir: Path) -> Iterator[LoggedServer]:
    """Runs a server on a free port."""
    command = (BINARY, "serve", "--data-dir", data_dir, "--listen", "127.0.0.1:0", "--log-format", "json")
    # By default, only some of many requests without a key are logged.
    with background(*command, env={"GATEKEY_LOG": "debug"}) as process:
        serving = json.loads(process.lines_up_to('"serving"')[-1])
        yield LoggedServer(url=serving["url"], data_dir=data_dir, process=process)


class SilentServer:
    """Accepts connections and never responds."""

    def __init__(self, listener: socket.socket) -> None:
        self.endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        # Counts the accepted connections.
        self.accepted = threading.Semaphore(0)
        self._listener = listener
        self._connections: list[socket.socket] = []

    @property
    def encoded_credentials(self) -> str:
        """An encoded key for this server."""
        return base64.b64encode(f"{self.endpoint}:ci:gk_secret:None".encode()).decode()

    def accept(self) -> None:
        """Accepts connections until the listener is shut down."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self.accepted.release()

    def hang_up(self) -> None:
        """Closes all connections and the listener."""
        # `close` by itself does not interrupt `accept`.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def wait_for_hang_up(self) -> None:
        """Waits until the client has closed all connections."""
        for connection in self._connections:
            connection.settimeout(TIMEOUT_SECONDS)
            while connection.recv(4096):
                pass


@contextmanager
def serve_silence() -> Iterator[SilentServer]:
    """Runs a server that never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        server = SilentServer(listener)
        thread = threading.Thread(target=server.accept)
        thread.start()
        try:
            yield server
        finally:
            if listener.fileno() != -1:
                server.hang_up()
            thread.join()


class _NotFound(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        # Unread data would reset the connection.
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""


@contextmanager
def serve_nothing() -> Iterator[str]:
    """Runs a plaintext web server without any of Gatekey's methods, and returns its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _NotFound) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
