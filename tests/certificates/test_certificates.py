"""The private CA's certificates, verified by Python and OpenSSL in strict mode."""

import json
import shutil
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gatekey import Server, attempt, run, serve

HOSTS = ("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on its own port."""
    with serve(tmp_path_factory.mktemp("server") / "data", listen="127.0.0.1:0") as server:
        yield server


def port_of(server: Server) -> int:
    return int(server.endpoint.rpartition(":")[2])


def tool(name: str) -> str:
    """The path of a tool; skips the test without it.

    A version manager's shim can be on the path and still not run.
    """
    found = shutil.which(name)
    if found is None or attempt(found, "version" if name == "openssl" else "--version").returncode != 0:
        pytest.skip(f"there is no {name} here")
    return found


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("file", ["ca.pem", "ca-bundle.pem"])
def test_python_accepts_the_server_in_strict_mode(elsewhere: Server, file: str, host: str) -> None:
    context = ssl.create_default_context(cafile=str(elsewhere.data_dir / file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT

    with (
        socket.create_connection(("127.0.0.1", port_of(elsewhere))) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        assert secured.getpeercert()


def test_python_3_13_accepts_the_server_by_default(elsewhere: Server) -> None:
    # The first version in which strict verification is the default.
    python = sys.executable if sys.version_info >= (3, 13) else tool("python3.13")
    url = f"{elsewhere.url}/.well-known/oauth-authorization-server"
    script = "import sys, ssl, urllib.request as r; c = ssl.create_default_context(cafile=sys.argv[1]); "
    script += "assert c.verify_flags & ssl.VERIFY_X509_STRICT; "
    script += "print(r.urlopen(sys.argv[2], context=c).read().decode())"

    printed = run(python, "-c", script, elsewhere.ca_file, url)
    assert json.loads(printed)["issuer"] == elsewhere.url


@pytest.mark.parametrize("host", HOSTS)
def test_openssl_accepts_the_server_in_strict_mode(elsewhere: Server, tmp_path: Path, host: str) -> None:
    openssl = tool("openssl")
    served = tmp_path / "served.pem"
    served.write_text(ssl.get_server_certificate(("127.0.0.1", port_of(elsewhere))))
    verify = "-verify_ip" if host[0].isdigit() else "-verify_hostname"

    arguments = ("-x509_strict", "-purpose", "sslserver", verify, host, "-CAfile", elsewhere.ca_file)
    assert run(openssl, "verify", *arguments, served).endswith(": OK\n")


def test_openssl_accepts_the_ca_in_strict_mode(elsewhere: Server) -> None:
    openssl = tool("openssl")

    printed = run(openssl, "verify", "-x509_strict", "-CAfile", elsewhere.ca_file, elsewhere.ca_file)
    assert printed.endswith(": OK\n")


def test_another_name_is_refused(elsewhere: Server) -> None:
    context = ssl.create_default_context(cafile=str(elsewhere.ca_file))

    with (
        socket.create_connection(("127.0.0.1", port_of(elsewhere))) as connection,
        pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"),
    ):
        context.wrap_socket(connection, server_hostname="flyte.example.com")
