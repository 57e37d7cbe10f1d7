"""The corpus of Gateway API and Istio objects by which our CRDs are held to the real ones: valid ones, and each with one thing wrong.

Valid: every object of the samples, those of tests/support/world_rich.py, and FULL below. From each distinct field of them follow mutations:
another type, nothing, an unknown neighbour, values out of bounds. `verdicts` asks a server, by dry runs, which it takes.
`python -m tests.support.crd_corpus FILE` records what the real server says with the real CRDs of their Go modules.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from kubernetes import client

from tests.support.apiserver import call
from tests.support.world_rich import RICH

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "charts/triomesh-crds"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMESPACE = "default"
Json = dict[str, Any]
Path_ = tuple[str | int, ...]

FULL = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: full}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*.example.com", "ns/b.example.com"]
    tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_2}
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
    tls: {httpsRedirect: true}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: full}
spec:
  hosts: [a.example.com]
  addresses: [192.0.2.0/24]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{address: 192.0.2.1, ports: {http: 81}, labels: {a: b}, weight: 2}]
  exportTo: ["."]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: streams}
spec:
  hosts: ["*"]
  gateways: [mesh, gw]
  exportTo: ["*"]
  tcp:
  - match: [{port: 27017}]
    route: [{destination: {host: mongo.default.svc.cluster.local, port: {number: 27017}}, weight: 100}]
  tls:
  - match: [{sniHosts: [a.example.com], port: 443}]
    route: [{destination: {host: a.example.com}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: full}
spec:
  gatewayClassName: triomesh
  listeners:
  - name: https
    port: 443
    protocol: HTTPS
    hostname: "*.example.com"
    tls: {mode: Terminate, certificateRefs: [{name: c}]}
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {a: b}}}, kinds: [{kind: HTTPRoute}]}
  - {name: http, port: 80, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: full}
spec:
  parentRefs: [{name: full, sectionName: http, port: 80}]
  hostnames: [a.example.com, "*.b.example.com"]
  rules:
  - name: one
    matches:
    - path: {type: PathPrefix, value: /a}
      headers: [{type: RegularExpression, name: x, value: "a.*"}]
      queryParams: [{name: q, value: "1"}]
      method: GET
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}
    - type: URLRewrite
      urlRewrite: {hostname: c.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}
    - type: RequestMirror
      requestMirror: {backendRef: {name: m, port: 80}}
    backendRefs:
    - {name: s, port: 80, weight: 90}
    - {name: t, namespace: other, kind: Service, group: "", port: 80, weight: 10}
    timeouts: {request: 10s, backendRequest: 2s}
  - matches: [{path: {type: Exact, value: /r}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: d.example.com, port: 8443, statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /x}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: full}
spec:
  parentRefs: [{name: full}]
  hostnames: [g.example.com]
  rules:
  - matches: [{method: {type: Exact, service: a.B, method: C}, headers: [{name: x, value: "1"}]}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [s]}}]
    backendRefs: [{name: s, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: full}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service, name: t}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: full}
spec:
  selector: {matchLabels: {app: a}}
  action: DENY
  rules: [{from: [{source: {principals: [p], namespaces: [n]}}], to: [{operation: {methods: [GET], paths: [/a]}}], when: [{key: "request.headers[x]", values: [v]}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: full}
spec: {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"80": {mode: DISABLE}}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: full}
spec:
  selector: {matchLabels: {app: a}}
  tracing: [{randomSamplingPercentage: 10.5, disableSpanReporting: false}]
  accessLogging: [{providers: [{name: envoy}], filter: {expression: "response.code >= 400"}}]
  metrics: [{providers: [{name: prometheus}], overrides: [{match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {x: {operation: UPSERT, value: "'y'"}}}]}]
"""


class Case(NamedTuple):
    """One object. `name` says where it comes from and what was done to it."""

    name: str
    document: Json


def originals() -> list[Case]:
    """The valid ones."""
    texts = [(path.relative_to(ROOT / "samples").as_posix(), path.read_text()) for path in sorted((ROOT / "samples").rglob("*.yaml"))]
    found = []
    for where, text in [*texts, ("rich", RICH), ("full", FULL)]:
        for index, document in enumerate(yaml.safe_load_all(text)):
            if document and ("istio.io/" in document["apiVersion"] or "gateway.networking" in document["apiVersion"]):
                document["metadata"] = {"name": document["metadata"]["name"]}
                for rule in document["spec"].get("rules", ()) if document["kind"] == "HTTPRoute" else ():
                    # We take both, as the experimental channel does; the real CRDs used here are the standard channel's.
                    rule.pop("retry", None)
                    if "filters" in rule:
                        rule["filters"] = [item for item in rule["filters"] if item["type"] != "CORS"]
                found.append(Case(f"{where}#{index} {document['kind']}", document))
    return found


def corpus() -> list[Case]:
    """The valid ones, and the mutations: one of each sort for each distinct field of each kind."""
    valid = originals()
    seen: set[tuple[str, ...]] = set()
    mutated = []
    for case in valid:
        kind = f"{case.document['apiVersion'].split('/')[0]} {case.document['kind']}"
        for path, value in _fields(case.document["spec"], ("spec",)):
            generic = (kind, *("*" if isinstance(step, int) else step for step in path))
            if generic in seen:
                continue
            seen.add(generic)
            for what, changed in _mutations(case.document, path, value):
                mutated.append(Case(f"{case.name}: {'.'.join(map(str, path))} {what}", changed))
    return valid + mutated


def _fields(value: Any, path: Path_) -> Iterator[tuple[Path_, Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _fields(entry, (*path, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _fields(entry, (*path, index))


def _mutations(document: Json, path: Path_, value: Any) -> Iterator[tuple[str, Json]]:
    for what, other in _others(value):
        yield what, _with(document, path, other)
    if len(path) > 1:
        yield "removed", _with(document, path, _REMOVED)
    if isinstance(value, dict) and value:
        yield "with an unknown field", _with(document, path, {**value, "zzz": 1})


_REMOVED = object()


def _others(value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case bool():
            yield "a text", "true"
        case int() | float():
            yield from (("a text", "one"), ("negative", -1), ("huge", 1 << 40), ("zero", 0))
        case str():
            yield from (("a number", 7), ("empty", ""), ("nonsense", "No Sense!"), ("long", "a" * 5000), ("an object", {}))
        case list():
            yield from (("a text", "x"), ("empty", []), ("twice as long", value * 2), ("far too long", value * 300 if len(json.dumps(value)) < 2000 else value * 65), ("an object", {}))
        case dict():
            yield from (("a text", "x"), ("empty", {}), ("a list", []))


def _with(document: Json, path: Path_, value: Any) -> Json:
    changed = copy.deepcopy(document)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    if value is _REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = copy.deepcopy(value)
    return changed


def verdicts(api: client.ApiClient, cases: list[Case]) -> dict[str, str]:
    """"accepted", or what is wrong: "422 spec.http[0].timeout …"."""
    found = {}
    for case in cases:
        kind = case.document["kind"].lower()
        plural = {"gatewayclass": "gatewayclasses", "authorizationpolicy": "authorizationpolicies", "telemetry": "telemetries", "serviceentry": "serviceentries"}.get(kind, f"{kind}s")
        path = f"/apis/{case.document['apiVersion']}/namespaces/{NAMESPACE}/{plural}"
        code, body, _ = call(api, "POST", path, case.document, dryRun="All", fieldValidation="Strict")
        assert code in (201, 400, 422), (case.name, code, body)
        causes = sorted({cause.get("field", "") for cause in (body.get("details") or {}).get("causes", ())}) if code == 422 else []
        found[case.name] = "accepted" if code == 201 else " ".join([str(code), *causes])
    return found


def accepted(found: dict[str, str]) -> list[str]:
    """Names of the cases that were taken."""
    return sorted(name for name, verdict in found.items() if verdict == "accepted")


def install(api: client.ApiClient, definitions: list[Json]) -> None:
    """Create CRDs and wait until each of their kinds is served."""
    for definition in definitions:
        code, body, _ = call(api, "POST", CRDS, definition)
        assert code == 201, body
    for definition in definitions:
        spec = definition["spec"]
        for version in spec["versions"]:
            if version["served"]:
                _await_served(api, f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}")


def uninstall(api: client.ApiClient, definitions: list[Json]) -> None:
    """Delete CRDs and wait until they are gone."""
    for definition in definitions:
        call(api, "DELETE", f"{CRDS}/{definition['metadata']['name']}")
    deadline = time.monotonic() + 30
    while any(call(api, "GET", f"{CRDS}/{definition['metadata']['name']}")[0] != 404 for definition in definitions):
        assert time.monotonic() < deadline, "the CRDs do not go"
        time.sleep(0.1)


def _await_served(api: client.ApiClient, path: str) -> None:
    deadline = time.monotonic() + 30
    while call(api, "GET", path)[0] != 200:
        assert time.monotonic() < deadline, f"{path} is not served"
        time.sleep(0.1)


def definitions(*places: Path) -> list[Json]:
    """The CRDs in files, or in the YAML files of folders."""
    files = [file for place in places for file in (sorted(place.glob("*.yaml")) if place.is_dir() else [place])]
    found = [document for file in files for document in yaml.safe_load_all(file.read_text()) if document and document["kind"] == "CustomResourceDefinition"]
    for document in found:
        document.pop("status", None)
    return found


def main() -> None:
    """Record the real verdicts."""
    from tests.support.apiserver_contract import client_of
    from tests.support.kube_server import binaries, real_kube

    found = binaries()
    with tempfile.TemporaryDirectory() as directory, real_kube(Path(directory), found) as server, client_of(server.kubeconfig) as api:
        install(api, definitions(found.gateway_api_crds, found.istio_crds))
        Path(sys.argv[1]).write_text(json.dumps(verdicts(api, corpus()), indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
