"""The OpenAPI document: by a validator of OpenAPI 3.1, and the server's own answers by the document."""

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
class World:
    """A server, its admin, and what the server says of itself."""

    server: Server
    admin: Credentials
    document: dict[str, Any]
    context: ssl.SSLContext

    def answer(
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
        return self.answer("post", path, headers=headers, body=urllib.parse.urlencode(parameters).encode())

    def token(self) -> str:
        """An access token of the admin."""
        status, body = self.form("/oauth2/token", grant_type="client_credentials")
        assert status == 200, body
        token: str = json.loads(body)["access_token"]
        return token

    def must_fit(self, method: str, path: str, answered: tuple[int, bytes], *, status: int = 200) -> None:
        """An answer must have a status, and be what the document says of it."""
        code, body = answered
        assert code == status, body
        responses = self.document["paths"][path][method]["responses"]
        response = responses.get(str(code), responses["default"])
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        if "content" not in response:
            assert body == b""
            return
        schema = response["content"]["application/json"]["schema"]
        # The components lie where references look for them.
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole).validate(json.loads(body))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server on a port of its own."""
    with serve(tmp_path_factory.mktemp("server") / "data", listen="127.0.0.1:0") as server:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        with urllib.request.urlopen(f"{server.url}/openapi.json", context=context) as response:
            document = json.load(response)
        yield World(server, server.init("admin"), document, context)


def test_the_document_is_openapi_3_1(world: World) -> None:
    assert world.document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(world.document).validate()


def test_every_schema_is_json_schema(world: World) -> None:
    for schema in world.document["components"]["schemas"].values():
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
def test_what_is_open_answers_as_documented(world: World, path: str) -> None:
    assert world.document["paths"][path]["get"]["security"] == []
    world.must_fit("get", path, world.answer("get", path))


def test_the_oauth_endpoints_answer_as_documented(world: World) -> None:
    token = world.token()
    answered = world.form("/oauth2/token", grant_type="client_credentials", scope="all")
    world.must_fit("post", "/oauth2/token", answered)
    for asked in (token, "none"):
        answered = world.form("/oauth2/introspect", token=asked)
        world.must_fit("post", "/oauth2/introspect", answered)
    bearer = {"Authorization": f"Bearer {token}"}
    for path in ("/oauth2/userinfo", "/me"):
        world.must_fit("get", path, world.answer("get", path, headers=bearer))
        world.must_fit("get", path, world.answer("get", path), status=401)
    world.must_fit("post", "/oauth2/token", world.form("/oauth2/token", grant_type="password"), status=400)
    world.must_fit("post", "/oauth2/revoke", world.form("/oauth2/revoke", token=token))


def test_plain_http_answers_as_documented(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.token()}", "Content-Type": "application/json"}
    apps = "/oauth_app/api/v1"
    one = f"{apps}/{{client_id}}"
    new = json.dumps({"clientId": "ci", "contacts": ["ci@example.com"]}).encode()
    change = json.dumps({"clientName": "CI"}).encode()

    world.must_fit("post", apps, world.answer("post", apps, headers=headers, body=new))
    world.must_fit("post", apps, world.answer("post", apps, headers=headers, body=new), status=409)
    world.must_fit("get", apps, world.answer("get", f"{apps}?request.limit=1", headers=headers))
    world.must_fit("get", one, world.answer("get", f"{apps}/ci", headers=headers))
    world.must_fit("put", one, world.answer("put", f"{apps}/ci", headers=headers, body=change))
    world.must_fit("delete", one, world.answer("delete", f"{apps}/ci", headers=headers))
    world.must_fit("get", one, world.answer("get", f"{apps}/ci", headers=headers), status=404)
    world.must_fit("get", apps, world.answer("get", apps), status=401)
