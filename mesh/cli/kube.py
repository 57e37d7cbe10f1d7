"""Kube: the few calls that meshctl makes to a Kubernetes API, by path and dict.

The official client does configuration, authentication and TLS; paths come from the server's own discovery, so that every
served kind works, ours and others'.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlencode

import urllib3.exceptions
import yaml
from kubernetes import client, config

JsonObject = dict[str, Any]
FIELD_MANAGER = "meshctl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
REQUEST_SECONDS = 30.0


class KubeError(Exception):
    """The API server's `Status`, or why it could not be asked (code 0)."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource, as discovery names it."""

    group_version: str
    plural: str
    kind: str
    is_namespaced: bool

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of a collection or object."""
        root = f"/api/{self.group_version}" if "/" not in self.group_version else f"/apis/{self.group_version}"
        scope = f"/namespaces/{namespace}" if self.is_namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{quote(name)}" if name else "")


class Kube:
    """One API server.

    Args: kubeconfig: a file, or None for `$KUBECONFIG`, `~/.kube/config` or the pod's own account, in that order.
    Raises: KubeError: no configuration, or the server does not answer.
    """

    def __init__(self, kubeconfig: str | None = None) -> None:
        try:
            # load_config() would fall back to in-cluster files with a warning on the root logger; say it in our words instead.
            if kubeconfig or os.environ.get("KUBECONFIG") or os.path.exists(os.path.expanduser("~/.kube/config")):
                config.load_kube_config(config_file=kubeconfig)
            else:
                config.load_incluster_config()
        except (config.ConfigException, OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as exc:
            # The client takes for granted that the file is YAML of the right shape; what it raises else is whatever Python says.
            raise KubeError(0, "NoConfiguration", f"no usable kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config, the running sandbox): {exc}") from exc
        self.api = client.ApiClient()
        self._resources: dict[str, dict[str, Resource]] = {}

    @property
    def server(self) -> str:
        """The server's URL."""
        return str(self.api.configuration.host)

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        seconds: float = REQUEST_SECONDS,
    ) -> bytes:
        """One request. Returns the body of a 2xx answer. Raises: KubeError with the server's own words."""
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": FIELD_MANAGER}
        self.api.update_params_for_auth(headers, [], ["BearerToken"], "", method, None)
        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        payload = None if body is None else json.dumps(body)
        try:
            answer = self.api.rest_client.pool_manager.request(
                method, url, body=payload, headers=headers, timeout=seconds, retries=False, preload_content=True
            )
        except urllib3.exceptions.HTTPError as exc:
            raise KubeError(0, "Unreachable", f"{self.server} does not answer: {exc}") from exc
        except ValueError as exc:  # http.client's: a token or user name that cannot be a header
            raise KubeError(0, "NoConfiguration", f"the kubeconfig's credentials for {self.server} cannot be sent: {exc}") from exc
        if 200 <= answer.status < 300:
            return cast(bytes, answer.data)
        raise _error(answer.status, answer.data)

    def json(self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None, content_type: str = "application/json") -> JsonObject:
        """`call` with the answer parsed."""
        return cast(JsonObject, json.loads(self.call(method, path, query, body, content_type)))

    def resource(self, api_version: str, kind: str) -> Resource:
        """What discovery says of a kind. Raises: KubeError(404) when the server does not serve it."""
        known = self._resources.get(api_version)
        if known is None or kind not in known:
            root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            try:
                listing = self.json("GET", root)
            except KubeError as exc:
                if exc.code != 404:
                    raise
                raise KubeError(404, "NotFound", f"the server does not serve {api_version} {kind}") from exc
            known = {
                str(item["kind"]): Resource(api_version, str(item["name"]), str(item["kind"]), bool(item["namespaced"]))
                for item in listing["resources"]
                if "/" not in item["name"]
            }
            self._resources[api_version] = known
        if kind not in known:
            raise KubeError(404, "NotFound", f"the server does not serve {api_version} {kind}")
        return known[kind]

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> JsonObject:
        """One object. Raises: KubeError(404)."""
        return self.json("GET", self.resource(api_version, kind).path(namespace, name))

    def list(self, api_version: str, kind: str, namespace: str = "", labels: str = "") -> list[JsonObject]:
        """All objects of a kind, of one namespace or (namespace "") of all."""
        query = {"labelSelector": labels} if labels else None
        return cast(list[JsonObject], self.json("GET", self.resource(api_version, kind).path(namespace), query)["items"])

    def apply(self, document: JsonObject, default_namespace: str = "default") -> JsonObject:
        """Server-side apply, taking over conflicts: what meshctl installs, meshctl owns."""
        resource = self.resource(str(document["apiVersion"]), str(document["kind"]))
        meta = document["metadata"]
        path = resource.path(meta.get("namespace", default_namespace), meta["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self.json("PATCH", path, query, document, "application/apply-patch+yaml")

    def apply_as_user(self, document: JsonObject, default_namespace: str = "default") -> JsonObject:
        """`apply` that leaves the object as `kubectl apply` would: the user's next one finds its last-applied annotation."""
        meta = document["metadata"]
        meta = {**meta, "namespace": meta.get("namespace", default_namespace)} if self.resource(document["apiVersion"], document["kind"]).is_namespaced else meta
        applied = {**document, "metadata": {"annotations": {}, **meta}}
        annotations = {**applied["metadata"]["annotations"], LAST_APPLIED: json.dumps(applied, separators=(",", ":")) + "\n"}
        return self.apply({**document, "metadata": {**meta, "annotations": annotations}}, default_namespace)

    def merge(self, api_version: str, kind: str, name: str, patch: JsonObject, namespace: str = "") -> JsonObject:
        """JSON merge patch."""
        path = self.resource(api_version, kind).path(namespace, name)
        return self.json("PATCH", path, {"fieldManager": FIELD_MANAGER}, patch, "application/merge-patch+json")

    def delete(self, api_version: str, kind: str, name: str, namespace: str = "") -> None:
        """Delete one object; one that is not there counts as deleted."""
        try:
            self.call("DELETE", self.resource(api_version, kind).path(namespace, name))
        except KubeError as exc:
            if exc.code != 404:
                raise

    def until(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        holds: Callable[[Mapping[str, JsonObject]], bool],
        seconds: float,
        labels: str = "",
    ) -> Mapping[str, JsonObject]:
        """Watch a collection until `holds(objects by name)`; returns those objects.

        Raises: KubeError(reason "Timeout") after `seconds`; other KubeErrors as they come.
        """
        import time

        path = self.resource(api_version, kind).path(namespace)
        selector = {"labelSelector": labels} if labels else {}
        deadline = time.monotonic() + seconds
        while True:
            listing = self.json("GET", path, selector)
            objects = {item["metadata"]["name"]: item for item in listing["items"]}
            if holds(objects):
                return objects
            left = deadline - time.monotonic()
            if left <= 0:
                raise KubeError(0, "Timeout", f"{kind}s in {namespace or 'all namespaces'} were not as expected after {seconds:.0f} s")
            query = {**selector, "watch": "true", "resourceVersion": listing["metadata"]["resourceVersion"], "timeoutSeconds": str(max(1, int(left)))}
            for event in self._events(path, query, left):
                if event["type"] == "ERROR":
                    break
                item = event["object"]
                if event["type"] == "DELETED":
                    objects.pop(item["metadata"]["name"], None)
                elif event["type"] != "BOOKMARK":
                    objects[item["metadata"]["name"]] = item
                if holds(objects):
                    return objects
                if time.monotonic() > deadline:
                    break

    def _events(self, path: str, query: Mapping[str, str], seconds: float) -> Iterator[JsonObject]:
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        self.api.update_params_for_auth(headers, [], ["BearerToken"], "", "GET", None)
        try:
            answer = self.api.rest_client.pool_manager.request(
                "GET", f"{self.server}{path}?{urlencode(query)}", headers=headers, timeout=seconds + 5, retries=False, preload_content=False
            )
            try:
                if answer.status != 200:
                    raise _error(answer.status, answer.read())
                yield from _lines(answer.stream(65536))
            finally:
                answer.close()
        except urllib3.exceptions.HTTPError as exc:
            raise KubeError(0, "Unreachable", f"{self.server} does not answer: {exc}") from exc


def _lines(chunks: Iterator[bytes]) -> Iterator[JsonObject]:
    buffered = b""
    for chunk in chunks:
        buffered += chunk
        *lines, buffered = buffered.split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _error(code: int, body: bytes) -> KubeError:
    try:
        status = json.loads(body)
        return KubeError(code, str(status.get("reason", "")), str(status.get("message", body.decode(errors="replace"))))
    except (ValueError, AttributeError):
        return KubeError(code, "", f"HTTP {code}: {body[:300].decode(errors='replace')}")
