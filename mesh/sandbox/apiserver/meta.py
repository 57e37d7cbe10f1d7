"""Everything that is not a resource: discovery, OpenAPI, health, version, metrics, the token issuer."""

from __future__ import annotations

import os
import platform
import resource as rusage
from typing import Any

from mesh.sandbox.apiserver import discovery, status, tokens
from mesh.sandbox.apiserver.authn import User
from mesh.sandbox.apiserver.cluster import Cluster
from mesh.sandbox.apiserver.http import Request, Response
from mesh.sandbox.apiserver.metrics import Metrics
from mesh.sandbox.apiserver.openapi import OpenApi
from mesh.sandbox.apiserver.storage import dump

Obj = dict[str, Any]

HEALTH = ("/healthz", "/livez", "/readyz")
GIT_VERSION = "v1.32.4+triomesh"  # the API level we speak; clients compare major.minor


class Meta:
    """Answers about the server itself."""

    def __init__(self, cluster: Cluster, metrics: Metrics) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._openapi = OpenApi(cluster.registry)

    def respond(self, request: Request, user: User) -> Response:
        """Raises: ApiError 404, 405, 406."""
        if request.method not in ("GET", "HEAD"):
            raise status.method_not_allowed(request.method)
        path = request.path.rstrip("/") or "/"
        if path in HEALTH or path.startswith(tuple(h + "/" for h in HEALTH)):
            return Response(200, b"ok", "text/plain; charset=utf-8")
        if path == "/metrics":
            return Response(200, self._metrics.text(self._gauges()).encode(), "text/plain; version=0.0.4; charset=utf-8")
        if path.startswith("/openapi/v"):
            return self._openapi.respond(path, request)
        aggregated = path in ("/api", "/apis") and _aggregated(request.headers.get("accept", ""))
        if aggregated:
            body = discovery.aggregated(self._cluster.registry, path == "/api", aggregated)
            return Response(200, dump(body), f"application/json;g=apidiscovery.k8s.io;v={aggregated};as=APIGroupDiscoveryList", [("Vary", "Accept")])
        return Response(200, dump(self._document(path, request)), headers=[("Vary", "Accept")])

    def _document(self, path: str, request: Request) -> Obj:
        registry = self._cluster.registry
        parts = path.strip("/").split("/")
        try:
            match parts:
                case [""]:
                    return {"paths": self._paths()}
                case ["version"]:
                    return _version()
                case ["api"]:
                    return discovery.legacy_root(request.headers.get("host", ""))
                case ["api", version]:
                    return discovery.resource_list(registry, "", version)
                case ["apis"]:
                    return discovery.group_list(registry)
                case ["apis", group]:
                    return discovery.group(registry, group)
                case ["apis", group, version]:
                    return discovery.resource_list(registry, group, version)
                case [".well-known", "openid-configuration"]:
                    return tokens.discovery(f"https://{request.headers.get('host', '')}/openid/v1/jwks")
                case ["openid", "v1", "jwks"]:
                    return self._cluster.signer.jwks()
        except KeyError as exc:
            raise status.no_such_resource() from exc
        raise status.no_such_resource()

    def _paths(self) -> list[str]:
        found = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", *HEALTH, "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/version"]
        for name, versions in discovery.groups(self._cluster.registry).items():
            if name:
                found += [f"/apis/{name}", *(f"/apis/{name}/{version}" for version in versions)]
        return sorted(found)

    def _gauges(self) -> dict[str, float]:
        store = self._cluster.store
        return {
            "apiserver_longrunning_requests": self._cluster.hub.count,
            "triomesh_apiserver_revision": store.revision,
            "triomesh_apiserver_compacted_revision": store.compacted,
            "process_resident_memory_bytes": _resident_bytes(),
            "process_cpu_seconds_total": sum(rusage.getrusage(rusage.RUSAGE_SELF)[:2]),
        }


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _aggregated(accept: str) -> str:
    """The version of aggregated discovery that a client prefers; "" for the legacy form."""
    for part in accept.split(","):
        named = dict(p.strip().split("=", 1) for p in part.split(";")[1:] if "=" in p)
        if named.get("g") == "apidiscovery.k8s.io" and named.get("as") == "APIGroupDiscoveryList" and named.get("v") in ("v2", "v2beta1") and part.strip().startswith("application/json"):
            return named["v"]
        if part.strip() in ("application/json", "*/*", "application/*"):
            return ""
    return ""


def _version() -> Obj:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    major, minor, _ = GIT_VERSION.removeprefix("v").split(".", 2)
    return {"major": major, "minor": minor, "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "", "compiler": platform.python_implementation(), "platform": f"linux/{machine}"}  # fmt: skip
