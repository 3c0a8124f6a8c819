"""The OpenAPI document, checked by a validator, and the server's responses, checked by the document."""

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from support.gatekey import Credentials, Server, serve


@dataclass(frozen=True)
class DocumentedServer:
    """A server, its admin and its OpenAPI document."""

    server: Server
    admin: Credentials
    document: dict[str, Any]
    context: ssl.SSLContext

    def send(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Sends a request."""
        request = urllib.request.Request(
            self.server.url + path, method=method.upper(), headers=headers or {}, data=body
        )
        try:
            with urllib.request.urlopen(request, context=self.context) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    def form(self, path: str, **parameters: str) -> tuple[int, bytes]:
        """Sends a form as the admin."""
        pair = f"{self.admin.client_id}:{self.admin.client_secret}".encode()
        headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        return self.send("post", path, headers=headers, body=urllib.parse.urlencode(parameters).encode())

    def token(self) -> str:
        """An access token of the admin."""
        status, body = self.form("/oauth2/token", grant_type="client_credentials")
        assert status == 200, body
        token: str = json.loads(body)["access_token"]
        return token

    def assert_documented(
        self, method: str, path: str, received: tuple[int, bytes], *, status: int = 200
    ) -> None:
        """Asserts the status of a response, and that the document describes it."""
        code, body = received
        assert code == status, body
        responses = self.document["paths"][path][method]["responses"]
        response = responses.get(str(code), responses["default"])
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        if "content" not in response:
            assert body == b""
            return
        schema = response["content"]["application/json"]["schema"]
        # References are relative to the whole schema.
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole).validate(json.loads(body))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentedServer]:
    """A server on its own port."""
    with serve(tmp_path_factory.mktemp("server") / "data", listen="127.0.0.1:0") as server:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        with urllib.request.urlopen(f"{server.url}/openapi.json", context=context) as response:
            document = json.load(response)
        yield DocumentedServer(server, server.init("admin"), document, context)


def test_the_document_is_openapi_3_1(api: DocumentedServer) -> None:
    assert api.document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(api.document).validate()


def test_every_schema_is_json_schema(api: DocumentedServer) -> None:
    for schema in api.document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/config/v1/flyte_client",
        "/oauth2/jwks",
        "/openapi.json",
    ],
)
def test_open_paths_respond_as_documented(api: DocumentedServer, path: str) -> None:
    assert api.document["paths"][path]["get"]["security"] == []
    api.assert_documented("get", path, api.send("get", path))


def test_the_oauth_endpoints_respond_as_documented(api: DocumentedServer) -> None:
    token = api.token()
    response = api.form("/oauth2/token", grant_type="client_credentials", scope="all")
    api.assert_documented("post", "/oauth2/token", response)
    for introspected in (token, "none"):
        response = api.form("/oauth2/introspect", token=introspected)
        api.assert_documented("post", "/oauth2/introspect", response)
    bearer = {"Authorization": f"Bearer {token}"}
    for path in ("/oauth2/userinfo", "/me"):
        api.assert_documented("get", path, api.send("get", path, headers=bearer))
        api.assert_documented("get", path, api.send("get", path), status=401)
    api.assert_documented(
        "post", "/oauth2/token", api.form("/oauth2/token", grant_type="password"), status=400
    )
    api.assert_documented("post", "/oauth2/revoke", api.form("/oauth2/revoke", token=token))


def test_plain_http_responds_as_documented(api: DocumentedServer) -> None:
    headers = {"Authorization": f"Bearer {api.token()}", "Content-Type": "application/json"}
    apps = "/oauth_app/api/v1"
    one = f"{apps}/{{client_id}}"
    new = json.dumps({"clientId": "ci", "contacts": ["ci@example.com"]}).encode()
    change = json.dumps({"clientName": "CI"}).encode()

    api.assert_documented("post", apps, api.send("post", apps, headers=headers, body=new))
    api.assert_documented("post", apps, api.send("post", apps, headers=headers, body=new), status=409)
    api.assert_documented("get", apps, api.send("get", f"{apps}?request.limit=1", headers=headers))
    api.assert_documented("get", one, api.send("get", f"{apps}/ci", headers=headers))
    api.assert_documented("put", one, api.send("put", f"{apps}/ci", headers=headers, body=change))
    api.assert_documented("delete", one, api.send("delete", f"{apps}/ci", headers=headers))
    api.assert_documented("get", one, api.send("get", f"{apps}/ci", headers=headers), status=404)
    api.assert_documented("get", apps, api.send("get", apps), status=401)
