"""A small Kubernetes API client on trio: objects are plain dicts, as they are on the wire.

The official client speaks asyncio or threads; the sandbox's node and controllers are trio programs with one watch per kind.
"""

import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import yaml

Json = dict[str, Any]
_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class ApiError(Exception):
    """The API server answered with a Status. `reason` is Kubernetes' (NotFound, Conflict, AlreadyExists, Expired …)."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class Unreachable(Exception):
    """No connection, or it broke: try again."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API serves it. `group` "" = core."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """URL path of the collection, an object, or a subresource of it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, sub) if part]
        return "/".join(parts)


PODS = Resource("", "v1", "pods", "Pod")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = Resource("", "v1", "events", "Event")
PVCS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource("batch", "v1", "jobs", "Job")
CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and how to prove who we are."""

    server: str
    context: ssl.SSLContext
    token: str | None
    server_name: str | None = None
    """What the server's certificate must be for, when that is not the host of `server`."""


def read_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig file.

    Raises: ValueError: it has no usable current context; the message names what is missing.
    """
    try:
        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        server = cluster["server"]
    except (KeyError, TypeError, StopIteration) as exc:
        raise ValueError(f"{path}: not a kubeconfig with a current context ({exc!r})") from exc
    return Access(server.rstrip("/"), _tls(cluster, user), user.get("token"), cluster.get("tls-server-name"))


def _named(entries: list[Json], name: str) -> Json:
    return next(entry for entry in entries if entry["name"] == name)


def _tls(cluster: Json, user: Json) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if data := cluster.get("certificate-authority-data"):
        context.load_verify_locations(cadata=base64.b64decode(data).decode())
    elif file := cluster.get("certificate-authority"):
        context.load_verify_locations(cafile=file)
    if "client-certificate-data" in user:
        with tempfile.TemporaryDirectory(prefix="triomesh-") as directory:  # ssl reads certificates from files only
            chain, key = Path(directory, "crt"), Path(directory, "key")
            key.touch(mode=0o600)
            chain.write_bytes(base64.b64decode(user["client-certificate-data"]))
            key.write_bytes(base64.b64decode(user["client-key-data"]))
            context.load_cert_chain(chain, key)
    elif "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    return context


class KubeClient:
    """Calls and watches. Concurrency: any number of tasks at once."""

    def __init__(self, access: Access, user_agent: str) -> None:
        headers = {"User-Agent": user_agent}
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        self._extensions = {"sni_hostname": access.server_name} if access.server_name else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
        self._http = httpx.AsyncClient(
            base_url=access.server, verify=access.context, headers=headers, limits=limits, timeout=30, trust_env=False
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        return await self._call("GET", resource.path(namespace, name))

    async def list(self, resource: Resource, namespace: str = "", **query: str) -> Json:
        """The whole List object, with its resourceVersion."""
        return await self._call("GET", resource.path(namespace), query=query)

    async def create(self, resource: Resource, namespace: str, body: Json, *, name: str = "", sub: str = "") -> Json:
        """POST an object, or to the subresource `sub` of the object `name`."""
        return await self._call("POST", resource.path(namespace, name, sub), body)

    async def update(self, resource: Resource, body: Json, *, sub: str = "") -> Json:
        """PUT a whole object; its resourceVersion guards against others' changes."""
        meta = body["metadata"]
        return await self._call("PUT", resource.path(meta.get("namespace", ""), meta["name"], sub), body)

    async def patch(
        self, resource: Resource, namespace: str, name: str, body: Any, *, sub: str = "", kind: str = "merge"
    ) -> Json:
        """PATCH with `kind` merge, json or strategic."""
        return await self._call("PATCH", resource.path(namespace, name, sub), body, content_type=_PATCH_TYPES[kind])

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        grace_seconds: int | None = None,
        uid: str | None = None,
        propagation: str | None = None,
    ) -> None:
        """DELETE; an object that is gone already (or was replaced, when `uid` is given) is no error."""
        options: Json = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        try:
            await self._call("DELETE", resource.path(namespace, name), options)
        except ApiError as exc:
            if exc.code != 404 and not (exc.code == 409 and uid is not None):
                raise

    async def raw(self, path: str) -> Json:
        """GET any path: discovery, for example."""
        return await self._call("GET", path)

    @asynccontextmanager
    async def watch(self, resource: Resource, version: str, namespace: str = "", **query: str) -> AsyncIterator[AsyncIterator[Json]]:
        """Events after resourceVersion `version`, of one namespace or ("") of all.

        Raises: ApiError: code 410 = list again. Unreachable: at any point.
        """
        params = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true", **query}
        timeout = httpx.Timeout(30, read=None)
        try:
            async with self._http.stream("GET", resource.path(namespace), params=params, timeout=timeout, extensions=self._extensions) as response:
                if response.status_code != 200:
                    raise _api_error(response.status_code, await response.aread())
                yield _events(response)
        except httpx.TransportError as exc:
            raise Unreachable(f"watch {resource.plural}: {exc!r}") from exc

    async def _call(
        self, method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None, content_type: str = "application/json"
    ) -> Json:
        content = None if body is None else json.dumps(body).encode()
        headers = {} if content is None else {"Content-Type": content_type}
        try:
            response = await self._http.request(method, path, content=content, headers=headers, params=query, extensions=self._extensions)
        except httpx.TransportError as exc:
            raise Unreachable(f"{method} {path}: {exc!r}") from exc
        if response.status_code >= 400:
            raise _api_error(response.status_code, response.content)
        result: Json = response.json()
        return result


async def _events(response: httpx.Response) -> AsyncIterator[Json]:
    async for line in response.aiter_lines():
        if line:
            yield json.loads(line)


def _api_error(code: int, content: bytes) -> ApiError:
    try:
        status = json.loads(content)
        return ApiError(code, status.get("reason") or "", status.get("message") or "")
    except (ValueError, AttributeError):
        return ApiError(code, "", content[:200].decode(errors="replace"))
