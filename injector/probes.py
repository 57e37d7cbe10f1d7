"""Probes: the kubelet's calls to the application, rewritten to pass through the proxy's port 15020.

Needed because a TCP probe would always succeed (the proxy accepts) and an HTTP probe would be captured. The
originals travel in TRIOMESH_APP_PROBERS, where the proxy looks up what to call.
Source: Istio app_probe.go: paths /app-health/<container>/{livez,readyz,startupz} and
/app-lifecycle/<container>/{prestopz,poststartz}; named ports are resolved here, since the proxy knows no names.
"""

from collections.abc import Mapping
from typing import Any

from injector.pod import BadPod, Json

STATUS_PORT = 15020
_PROBES = {"readinessProbe": "readyz", "livenessProbe": "livez", "startupProbe": "startupz"}
_HOOKS = {"preStop": "prestopz", "postStart": "poststartz"}
_HANDLERS = ("httpGet", "tcpSocket", "grpc")


def rewrite(container: Json) -> tuple[Json, Json]:
    """One application container with its probes and HTTP hooks pointed at the proxy.

    Returns: (the container, {path on 15020: original prober}); the input is not changed.
    Raises: BadPod: a port name that the container does not declare, or no port at all.
    """
    result, probers = dict(container), {}
    for field, word in _PROBES.items():
        probe = container.get(field) or {}
        if kind := _handler(probe):
            path = f"/app-health/{container['name']}/{word}"
            where = f"container {container['name']}: {field}.{kind}"
            probers[path] = _prober(kind, probe[kind], probe, container, where)
            result[field] = {**{k: v for k, v in probe.items() if k != kind}, "httpGet": _http_get(path, probe[kind])}
    hooks = dict(container.get("lifecycle") or {})
    for field, word in _HOOKS.items():
        hook = hooks.get(field)
        if isinstance(hook, Mapping) and _is_local_http(hook):
            path = f"/app-lifecycle/{container['name']}/{word}"
            where = f"container {container['name']}: lifecycle.{field}.httpGet"
            probers[path] = _prober("httpGet", hook["httpGet"], {}, container, where)
            hooks[field] = {**hook, "httpGet": _http_get(path, hook["httpGet"])}
            result["lifecycle"] = hooks
    return result, probers


def restore(container: Json, probers: Mapping[str, Any]) -> Json:
    """The inverse of `rewrite`, given the probers it returned (for re-injection)."""
    result = dict(container)
    for field, word in _PROBES.items():
        if original := probers.get(f"/app-health/{container['name']}/{word}"):
            kept = {k: v for k, v in (container.get(field) or {}).items() if k not in _HANDLERS}
            result[field] = {**kept, **{k: v for k, v in original.items() if k in _HANDLERS}}
    for field, word in _HOOKS.items():
        original = probers.get(f"/app-lifecycle/{container['name']}/{word}")
        hooks = dict(container.get("lifecycle") or {})
        if original and field in hooks:
            hooks[field] = {**hooks[field], "httpGet": original["httpGet"]}
            result["lifecycle"] = {**dict(result.get("lifecycle") or {}), field: hooks[field]}
    return result


def _handler(probe: object) -> str:
    """Which handler is to be rewritten; "" for exec, for an explicit host, and for what already points at the proxy."""
    if not isinstance(probe, Mapping):
        return ""
    if _is_local_http(probe):
        return "httpGet"
    for kind in ("tcpSocket", "grpc"):
        handler = probe.get(kind)
        if isinstance(handler, Mapping) and not handler.get("host"):
            return kind
    return ""


def _is_local_http(handler: Mapping[str, Any]) -> bool:
    # An explicit host is another machine than this pod: the kubelet goes there directly and no proxy sees it.
    get = handler.get("httpGet")
    return isinstance(get, Mapping) and not get.get("host") and get.get("port") != STATUS_PORT


def _prober(kind: str, handler: Mapping[str, Any], probe: Mapping[str, Any], container: Json, where: str) -> Json:
    original = {**handler, "port": _port(handler.get("port"), container, where)}
    return {kind: original, **({"timeoutSeconds": probe["timeoutSeconds"]} if probe.get("timeoutSeconds") else {})}


def _http_get(path: str, handler: Mapping[str, Any]) -> Json:
    headers = handler.get("httpHeaders")
    return {"path": path, "port": STATUS_PORT, **({"httpHeaders": headers} if headers else {})}


def _port(port: object, container: Json, where: str) -> int:
    if isinstance(port, str) and port.isdigit():
        port = int(port)
    if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536:
        return port
    for declared in container.get("ports") or []:
        if isinstance(port, str) and declared.get("name") == port:
            return int(declared["containerPort"])
    raise BadPod(f"{where}.port: {port!r} is neither a port number nor the name of one of the container's ports")
