"""A stand-in for Flyte behind the gate, for the public clients of either generation.

As the real one, it verifies nothing, believes the headers of the gate about the caller, and builds
the address of its cluster from what the client called. It describes a project by its caller and by
the credential that it saw.
"""

import gzip
import importlib.util
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flyteidl2.common import phase_pb2
from flyteidl2.project import project_service_pb2
from flyteidl2.secret import payload_pb2 as secret_pb2
from flyteidl2.workflow import run_service_pb2

Headers = Mapping[str, str]

# A project whose look-up breaks off before the response.
OUTAGE = "outage"


class OutageError(Exception):
    """The connection ends without a response."""


class Flyte:
    """What it stores, and who called it."""

    def __init__(self) -> None:
        self.url = ""
        # The callers by procedure, without those that need no credential.
        self.callers: list[tuple[str, str]] = []
        # Calls that broke off.
        self.outages = 0
        self.stopped = threading.Event()
        self._projects: dict[str, Any] = {}
        self._secrets: list[Any] = []
        self._calls: dict[str, Callable[[bytes, Headers], Any]] = {
            "/flyteidl2.project.ProjectService/ListProjects": self._list_projects,
            "/flyteidl2.project.ProjectService/GetProject": self._get_project,
            "/flyteidl2.project.ProjectService/CreateProject": self._create_project,
            "/flyteidl2.cluster.ClusterService/SelectCluster": self._select_cluster,
            "/flyteidl2.secret.SecretService/CreateSecret": self._create_secret,
            "/flyteidl2.secret.SecretService/ListSecrets": self._list_secrets,
            "/flyteidl2.workflow.RunService/ListRuns": self._list_runs,
        }
        self.watch = "/flyteidl2.workflow.RunService/WatchActionDetails"

    def serves(self, procedure: str) -> bool:
        """Whether it is one of its unary procedures."""
        return procedure in self._calls

    def answer(self, procedure: str, message: bytes, headers: Headers) -> bytes:
        """The response to a call, as a message."""
        self.callers.append((procedure, _caller(headers)))
        response: bytes = self._calls[procedure](message, headers).SerializeToString()
        return response

    def running(self, headers: Headers) -> bytes:
        """The first message of a watch: the action runs. No other follows."""
        self.callers.append((self.watch, _caller(headers)))
        response = run_service_pb2.WatchActionDetailsResponse()
        response.details.status.phase = phase_pb2.ACTION_PHASE_RUNNING
        message: bytes = response.SerializeToString()
        return message

    def _list_projects(self, _message: bytes, headers: Headers) -> Any:
        response = project_service_pb2.ListProjectsResponse()
        project = response.projects.projects.add()
        project.id = "gate"
        project.name = _caller(headers)
        project.description = headers.get("authorization", "")
        return response

    def _get_project(self, message: bytes, _headers: Headers) -> Any:
        wanted = project_service_pb2.GetProjectRequest.FromString(message).id
        if wanted == OUTAGE:
            self.outages += 1
            raise OutageError
        return project_service_pb2.GetProjectResponse(project=self._projects[wanted])

    def _create_project(self, message: bytes, headers: Headers) -> Any:
        project = project_service_pb2.CreateProjectRequest.FromString(message).project
        project.description = _caller(headers)
        self._projects[project.id] = project
        return project_service_pb2.CreateProjectResponse()

    def _select_cluster(self, _message: bytes, headers: Headers) -> Any:
        from flyteidl2.cluster import payload_pb2

        # The client sends what it has for the cluster to this address.
        scheme = headers.get("x-forwarded-proto", "http")
        return payload_pb2.SelectClusterResponse(cluster_endpoint=f"{scheme}://{headers['host']}")

    def _create_secret(self, message: bytes, _headers: Headers) -> Any:
        self._secrets.append(secret_pb2.CreateSecretRequest.FromString(message).id)
        return secret_pb2.CreateSecretResponse()

    def _list_secrets(self, _message: bytes, _headers: Headers) -> Any:
        response = secret_pb2.ListSecretsResponse()
        for secret in self._secrets:
            response.secrets.add().id.CopyFrom(secret)
        return response

    def _list_runs(self, _message: bytes, headers: Headers) -> Any:
        response = run_service_pb2.ListRunsResponse()
        action = response.runs.add().action
        action.id.run.name = "run"
        action.id.name = "a0"
        action.metadata.executed_by.user.id.subject = _caller(headers)
        action.status.phase = phase_pb2.ACTION_PHASE_RUNNING
        return response


def _caller(headers: Headers) -> str:
    return headers.get("x-auth-request-user", "")


@contextmanager
def flyte() -> Iterator[Flyte]:
    """Serves during the tests."""
    backend = Flyte()
    serve = _over_grpc if importlib.util.find_spec("grpc") else _over_connect
    with serve(backend):
        yield backend


@contextmanager
def _over_grpc(backend: Flyte) -> Iterator[None]:
    import grpc

    class Services(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            procedure = details.method
            if procedure == backend.watch:
                return grpc.unary_stream_rpc_method_handler(watch)
            if backend.serves(procedure):
                return grpc.unary_unary_rpc_method_handler(answering(procedure))
            return None

    def answering(procedure: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
            return backend.answer(procedure, message, dict(context.invocation_metadata()))

        return answer

    def watch(_message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        left = threading.Event()
        context.add_callback(left.set)
        yield backend.running(dict(context.invocation_metadata()))
        left.wait()

    server = grpc.server(ThreadPoolExecutor(), handlers=[Services()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    backend.url = f"http://127.0.0.1:{port}"
    try:
        yield
    finally:
        server.stop(None).wait()


@contextmanager
def _over_connect(backend: Flyte) -> Iterator[None]:
    class Services(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            message = self._body()
            if headers.get("content-encoding") == "gzip":
                message = gzip.decompress(message)
            if self.path == backend.watch:
                self._stream(backend.running(headers))
            elif backend.serves(self.path):
                try:
                    self._respond(200, backend.answer(self.path, message, headers))
                except OutageError:
                    self.close_connection = True
            else:
                self._respond(404, b"")

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", "0")))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _respond(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/proto")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, message: bytes) -> None:
            envelope = b"\0" + len(message).to_bytes(4, "big") + message
            self.send_response(200)
            self.send_header("content-type", "application/connect+proto")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(envelope), envelope))
            backend.stopped.wait()
            self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Services)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    backend.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        backend.stopped.set()
        server.shutdown()
        serving.join()
        server.server_close()
