"""Extracts `schemas.json`: the schemas of the kinds that docs/gate/kubernetes uses.

    python extract.py KUBERNETES_VALIDATE GATEWAY_API ENVOY_GATEWAY ISTIO_API

Each argument is a folder: of the PyPI package kubernetes-validate, and of the Go modules
sigs.k8s.io/gateway-api, github.com/envoyproxy/gateway and istio.io/api. See README.md.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = "v1.34.0-local"
BUILT_IN = {
    "v1 ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "v1 PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "v1 Service": "io.k8s.api.core.v1.Service",
    "apps/v1 Deployment": "io.k8s.api.apps.v1.Deployment",
    "networking.k8s.io/v1 Ingress": "io.k8s.api.networking.v1.Ingress",
    "networking.k8s.io/v1 NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
}
REFERENCE = "#/definitions/"


def bare(schema: Any, *, is_properties: bool = False) -> Any:
    """A schema without its texts, which knows no other fields than its own."""
    if isinstance(schema, list):
        return [bare(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if is_properties:
        return {name: bare(entry) for name, entry in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    left_out = ("description", "format", "default", "example", "title")
    kept = {
        name: bare(entry, is_properties=name == "properties")
        for name, entry in schema.items()
        if name not in left_out and not name.startswith("x-")
    }
    if "$ref" in kept:
        kept["$ref"] = REFERENCE + kept["$ref"].rsplit("/", 1)[-1]
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in kept
    if "properties" in kept and not open_ended:
        kept["additionalProperties"] = False
    return kept


def references(schema: Any) -> set[str]:
    """The names of the definitions that a schema refers to."""
    if isinstance(schema, list):
        return set().union(*map(references, schema))
    if not isinstance(schema, dict):
        return set()
    found = set().union(*map(references, schema.values()))
    if isinstance(schema.get("$ref"), str):
        found.add(schema["$ref"].removeprefix(REFERENCE))
    return found


def built_in(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The kinds of Kubernetes itself, and the definitions that they refer to."""
    file = folder / "kubernetes-json-schema" / KUBERNETES / "_definitions.json"
    all_of_it = json.loads(file.read_text())["$defs"]
    kinds = {kind: {"$ref": REFERENCE + name} for kind, name in BUILT_IN.items()}
    definitions: dict[str, Any] = {}
    wanted = list(BUILT_IN.values())
    while wanted:
        name = wanted.pop()
        if name not in definitions:
            definitions[name] = bare(all_of_it[name])
            wanted.extend(references(definitions[name]))
    return kinds, definitions


def custom(file: Path, wanted: set[str]) -> dict[str, Any]:
    """The schemas of custom resources in a file."""
    found = {}
    for document in yaml.safe_load_all(file.read_text()):
        if not document or document["kind"] != "CustomResourceDefinition":
            continue
        spec = document["spec"]
        for version in spec["versions"]:
            name = f"{spec['group']}/{version['name']} {spec['names']['kind']}"
            if name in wanted:
                schema = bare(version["schema"]["openAPIV3Schema"])
                # A resource as it is written has all of these, and their schemas do not.
                schema["properties"] |= {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"$ref": REFERENCE + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                }
                found[name] = schema
    return found


def main() -> None:
    kubernetes, gateway_api, envoy_gateway, istio = map(Path, sys.argv[1:])
    kinds, definitions = built_in(kubernetes)
    route = "config/crd/experimental/gateway.networking.k8s.io_httproutes.yaml"
    kinds |= custom(gateway_api / route, {"gateway.networking.k8s.io/v1 HTTPRoute"})
    policy = "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_securitypolicies.yaml"
    kinds |= custom(envoy_gateway / policy, {"gateway.envoyproxy.io/v1alpha1 SecurityPolicy"})
    policies = "kubernetes/customresourcedefinitions.gen.yaml"
    kinds |= custom(istio / policies, {"security.istio.io/v1 AuthorizationPolicy"})
    schemas = {"kinds": kinds, "definitions": definitions}
    text = json.dumps(schemas, sort_keys=True, separators=(",", ":"))
    Path(__file__).with_name("schemas.json").write_text(text.replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
