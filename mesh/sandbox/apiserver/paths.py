"""Paths: what a URL and method of the Kubernetes API ask for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.sandbox.apiserver import status

# Subresources of a Namespace; anything else after /namespaces/{name}/ is a resource inside it.
NAMESPACE_SUBRESOURCES = ("status", "finalize")
CONNECT = ("exec", "attach", "portforward", "proxy", "log")


@dataclass(frozen=True, slots=True)
class Target:
    """One resource request. `name` "" is the collection; `rest` is what follows `/proxy/`."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def parse(path: str) -> Target | None:
    """The target of a resource path; None when the path is of another kind (discovery, health). Source: API concepts, "Resource URIs"."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, tail = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, tail = parts[1], parts[2], parts[3:]
    else:
        return None
    if tail[0] == "watch":
        raise status.bad_request("the /watch/ path prefix is not served: use ?watch=true")
    namespace = ""
    if tail[0] == "namespaces" and len(tail) > 2 and not (len(tail) == 3 and tail[2] in NAMESPACE_SUBRESOURCES):
        namespace, tail = tail[1], tail[2:]
    name = tail[1] if len(tail) > 1 else ""
    subresource = tail[2] if len(tail) > 2 else ""
    if len(tail) > 3 and subresource != "proxy":
        raise status.no_such_resource()
    rest = "/".join(path.lstrip("/").split("/")[len(parts) - len(tail) + 3 :]) if subresource == "proxy" else ""
    return Target(group, version, tail[0], namespace, name, subresource, rest)


def verb(method: str, target: Target, is_watch: bool) -> str:
    """The API verb, as RBAC rules name it. Source: "Authorization", "Determine the request verb"."""
    if method in ("GET", "HEAD"):
        if not target.name:
            return "watch" if is_watch else "list"
        return "get"
    if method == "DELETE" and not target.name:
        return "deletecollection"
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    if method not in verbs:
        raise status.method_not_allowed(method)
    return verbs[method]
