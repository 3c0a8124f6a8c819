"""A stand-in for Flyte behind the gate, for the public clients of either generation.

It lists one project. Its name is the caller, and its description is the credential that it saw.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from flyteidl2.project import project_service_pb2

LIST_PROJECTS = "/flyteidl2.project.ProjectService/ListProjects"


def listed(headers: Mapping[str, str]) -> bytes:
    """The response to `ListProjects`, as a message."""
    response = project_service_pb2.ListProjectsResponse()
    project = response.projects.projects.add()
    project.id = "gate"
    project.name = headers.get("x-auth-request-user", "")
    project.description = headers.get("authorization", "")
    message: bytes = response.SerializeToString()
    return message


@contextmanager
def flyte() -> Iterator[str]:
    """Serves during the tests, and yields its URL."""
    if importlib.util.find_spec("grpc"):
        yield from _over_grpc()
    else:
        yield from _over_connect()


def _over_grpc() -> Iterator[str]:
    import grpc

    def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
        return listed(dict(context.invocation_metadata()))

    class Projects(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            known = details.method == LIST_PROJECTS
            return grpc.unary_unary_rpc_method_handler(answer) if known else None

    server = grpc.server(ThreadPoolExecutor(), handlers=[Projects()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _over_connect() -> Iterator[str]:
    class Projects(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            known = self.path == LIST_PROJECTS
            body = listed({name.lower(): value for name, value in self.headers.items()}) if known else b""
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/proto")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Projects)
    server.daemon_threads = True
    serving = Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
