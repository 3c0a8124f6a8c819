"""The files of docs/gate/kubernetes, which no cluster runs here: their schemas, and what they name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from support.gatekey import BINARY, attempt, run

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/gate/kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
VALUES = [file for file in FILES if "helm" in file.name or "values" in file.name]
MANIFESTS = [file for file in FILES if file not in VALUES]
SCHEMAS = json.loads((Path(__file__).parent / "kubernetes/schemas.json").read_text())

# Flyte's Services, by the templates of its charts: name and ports.
FLYTE = {
    ("flyte-binary-http", 8090),  # flyte-binary 2
    ("flyte-binary-http", 8088),  # flyte-binary 1
    ("flyte-binary-grpc", 8089),
    ("flyteadmin", 80),  # flyte-core
    ("flyteadmin", 81),
    ("flyteconsole", 80),
}
# The values that the templates of each chart read, and that the files set.
CHARTS = {
    "helm-flyte-2.yaml": {
        # Copied into Flyte's configuration as a whole.
        "flyte-core-components.runs.authMetadata.externalAuthServerBaseUrl",
        "flyte-core-components.runs.authMetadata.flyteClient.clientId",
        "flyte-core-components.runs.authMetadata.flyteClient.redirectUri",
        "flyte-core-components.runs.authMetadata.flyteClient.scopes",
        "flyte-core-components.runs.trustForwardedIdentityHeaders",
        "flyte-core-components.runs.identityHeaders.claimsJwtHeader",
        "flyte-core-components.runs.identityHeaders.subjectHeader",
        "flyte-core-components.runs.identityHeaders.emailHeader",
        "ingress.create",
    },
    "helm-flyte-1.yaml": {
        "configuration.auth.enabled",
        "configuration.auth.enableAuthServer",
        "configuration.auth.oidc.baseUrl",
        "configuration.auth.oidc.clientId",
        "configuration.auth.internal.clientId",
        "configuration.auth.authorizedUris",
        # Copied into Flyte's configuration as a whole.
        "configuration.inline.auth.grpcAuthorizationHeader",
        "configuration.inline.auth.appAuth.authServerType",
        "configuration.inline.auth.appAuth.externalAuthServer.baseUrl",
        "configuration.inline.auth.appAuth.externalAuthServer.allowedAudience",
        "ingress.create",
    },
    "helm-flyte-1-core.yaml": {
        # Copied into flyteadmin's configuration as a whole.
        "configmap.adminServer.server.security.useAuth",
        "configmap.adminServer.auth.grpcAuthorizationHeader",
        "configmap.adminServer.auth.authorizedUris",
        "configmap.adminServer.auth.appAuth.authServerType",
        "configmap.adminServer.auth.appAuth.externalAuthServer.baseUrl",
        "configmap.adminServer.auth.appAuth.externalAuthServer.allowedAudience",
        "configmap.adminServer.auth.userAuth.openId.baseUrl",
        "configmap.adminServer.auth.userAuth.openId.clientId",
        "secrets.adminOauthClientCredentials.enabled",
        "secrets.adminOauthClientCredentials.clientId",
        "common.ingress.enabled",
    },
    # Fields of MeshConfig.ExtensionProvider in istio.io/api v1.32.0.
    "istio-values.yaml": {"meshConfig.extensionProviders"},
}


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def every(kind: str) -> list[dict[str, Any]]:
    return [document for file in MANIFESTS for document in documents(file) if document["kind"] == kind]


def names(file: Path) -> str:
    return file.name


@pytest.mark.parametrize("file", MANIFESTS, ids=names)
def test_manifests_have_their_schemas(file: Path) -> None:
    found = documents(file)
    assert found
    for document in found:
        kind = f"{document['apiVersion']} {document['kind']}"
        schema = {"definitions": SCHEMAS["definitions"], **SCHEMAS["kinds"][kind]}
        problems = [error.message for error in Draft7Validator(schema).iter_errors(document)]
        assert not problems, f"{kind}: {problems}"


def test_the_schemas_refuse_unknown_fields() -> None:
    for document in [*every("Deployment"), *every("HTTPRoute"), *every("SecurityPolicy")]:
        kind = f"{document['apiVersion']} {document['kind']}"
        schema = {"definitions": SCHEMAS["definitions"], **SCHEMAS["kinds"][kind]}
        document["spec"]["unknown"] = 1
        assert not Draft7Validator(schema).is_valid(document), kind


def configurations() -> list[str]:
    return [document["data"]["gatekey.toml"] for document in every("ConfigMap")]


def upstreams_in_comments() -> list[str]:
    """The part of Gatekey's configuration that a file of values has in a comment."""
    found = []
    for file in VALUES:
        lines = [line.removeprefix("#").strip() for line in file.read_text().splitlines() if line[:1] == "#"]
        settings = [line for line in lines if re.match(r"\[|[a-z_]+ = ", line)]
        if settings:
            found.append("\n".join(settings))
    assert len(found) == 2
    return found


def test_configurations_are_valid(tmp_path: Path) -> None:
    public = '[server]\npublic_url = "https://flyte.example.com"\n'
    for toml in [*configurations(), *(public + part for part in upstreams_in_comments())]:
        file = tmp_path / "gatekey.toml"
        file.write_text(toml)
        checked = attempt(BINARY, "config", "check", "--config", str(file))
        # The certificate is read only once every setting is valid.
        is_mounted = "error: /tls/tls.crt cannot be read: No such file" in checked.stderr
        assert is_mounted or "The configuration is valid" in checked.stdout, checked.stderr


def test_upstreams_are_flytes_services() -> None:
    for toml in [*configurations(), *upstreams_in_comments()]:
        for name, port in re.findall(r'"http://([a-z-]+)\.flyte\.svc\.cluster\.local:(\d+)"', toml):
            assert (name, int(port)) in FLYTE
    assert any("upstream" in toml for toml in configurations())


def listened(toml: str, setting: str) -> int:
    found = re.search(rf'^{setting} = "0\.0\.0\.0:(\d+)"$', toml, re.MULTILINE)
    assert found, f"{setting} is not in {toml}"
    return int(found[1])


def test_ports_are_those_that_gatekey_serves() -> None:
    [in_front] = [toml for toml in configurations() if "upstream" in toml]
    [beside] = [toml for toml in configurations() if "forward_auth" in toml]
    [deployment] = every("Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"https": listened(in_front, "listen"), "admin": listened(in_front, "admin_listen")}
    assert listened(beside, "admin_listen") == ports["admin"]
    for probe, path in [("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")]:
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "admin"}
    targets = [port["targetPort"] for service in every("Service") for port in service["spec"]["ports"]]
    assert targets == [listened(beside, "listen"), "https"]
    asked = json.dumps([document for file in MANIFESTS for document in documents(file)])
    for name, port in re.findall(r'"name": "(gatekey|flyte[a-z-]*)", "port": (?:\{"number": )?(\d+)', asked):
        assert int(port) == listened(beside, "listen") if name == "gatekey" else (name, int(port)) in FLYTE


def test_mounted_files_are_those_of_the_configuration() -> None:
    [deployment] = every("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    text = "\n".join([*configurations(), *container["args"]])
    for file in re.findall(r'[="](/[a-z-]+)/[a-z./-]+', text):
        assert file in mounts.values(), file
    head = (FOLDER / "gatekey.yaml").read_text()
    for volume in pod["volumes"]:
        if "secret" in volume:
            assert re.search(rf"create secret (generic|tls) {volume['secret']['secretName']} ", head)


def own_paths() -> set[str]:
    """The paths that clients call at Gatekey, apart from those that Flyte serves as well."""
    rules = json.loads(run(BINARY, "gate", "rules", "--output", "json"))
    own = {rule["pattern"] for rule in rules if rule["access"] == "own"}
    of_flyte = ("/gate/", "/flyteidl.", "/flyteidl2.auth.IdentityService/", "/grpc.")
    return {path for path in own if not path.startswith(of_flyte)}


def routed(file: str) -> list[tuple[str, str]]:
    """The paths that a file sends to Gatekey: their kind, and the path."""
    found = []
    for document in documents(FOLDER / file):
        for rule in document["spec"].get("rules", []):
            if document["kind"] == "HTTPRoute" and rule["backendRefs"][0]["name"] == "gatekey":
                found += [(match["path"]["type"], match["path"]["value"]) for match in rule["matches"]]
            if document["kind"] == "Ingress":
                paths = rule["http"]["paths"]
                found += [
                    (path["pathType"].replace("Prefix", "PathPrefix"), path["path"])
                    for path in paths
                    if path["backend"]["service"]["name"] == "gatekey"
                ]
    return found


@pytest.mark.parametrize("file", ["gateway-api.yaml", "envoy-gateway.yaml", "ingress-nginx.yaml"])
def test_gateways_send_gatekey_its_own_paths(file: str) -> None:
    def covers(match: tuple[str, str], path: str) -> bool:
        kind, value = match
        return path == value or (kind == "PathPrefix" and path.startswith(f"{value}/"))

    matches = routed(file)
    for path in own_paths():
        assert any(covers(match, path) for match in matches), path
    for match in matches:
        assert any(covers(match, path) for path in own_paths()), match


def test_ingress_nginx_asks_without_a_cache() -> None:
    own = {rule["pattern"] for rule in json.loads(run(BINARY, "gate", "rules", "--output", "json"))}
    [asking] = [
        document["metadata"]["annotations"]
        for document in every("Ingress")
        if "nginx.ingress.kubernetes.io/auth-url" in document["metadata"]["annotations"]
    ]
    assert not any("auth-cache" in name or "snippet" in name for name in asking)
    path = asking["nginx.ingress.kubernetes.io/auth-url"].split(":8081", 1)[1]
    assert path == "/gate/nginx"
    assert path in own


def test_checks_fail_closed() -> None:
    [policy] = every("SecurityPolicy")
    assert policy["spec"]["extAuth"]["failOpen"] is False
    assert [target["name"] for target in policy["spec"]["targetRefs"]] == ["flyte"]
    [provider] = documents(FOLDER / "istio-values.yaml")[0]["meshConfig"]["extensionProviders"]
    [action] = every("AuthorizationPolicy")
    assert action["spec"]["provider"]["name"] == provider["name"]
    ask = provider["envoyExtAuthzGrpc"]
    assert ask.keys() == {"service", "port", "timeout", "failOpen", "statusOnError"}
    assert (ask["failOpen"], ask["statusOnError"]) == (False, "503")


def leaves(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return set().union(*(leaves(entry, f"{path}.{name}") for name, entry in value.items()))
    return {path.removeprefix(".")}


@pytest.mark.parametrize("file", VALUES, ids=names)
def test_values_are_those_of_the_chart(file: Path) -> None:
    [values] = documents(file)
    assert leaves(values) == CHARTS[file.name]


@pytest.mark.parametrize("file", FILES, ids=names)
def test_files_name_a_command_that_shows_it_works(file: Path) -> None:
    text = file.read_text()
    assert re.search(r"^# Shows that it works[^\n]*:", text, re.MULTILINE)
    shown = text.split("# Shows that it works", 1)[1]
    assert re.search(r"^#   (gatekey|kubectl|curl) ", shown, re.MULTILINE)
    assert f"({file.name})" in (FOLDER / "README.md").read_text()
