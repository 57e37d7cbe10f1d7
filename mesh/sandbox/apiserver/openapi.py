"""OpenAPI v2 and v3: schemas of every served kind, and enough operations for kubectl to see that the server validates fields.

The documents are derived from the registry when first asked for, and again when a CustomResourceDefinition has changed it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.decode import full_schema
from mesh.sandbox.apiserver.discovery import groups
from mesh.sandbox.apiserver.http import Request, Response
from mesh.sandbox.apiserver.registry import Registry, Resource
from mesh.sandbox.apiserver.schema.definitions import definitions
from mesh.sandbox.apiserver.storage import dump

Obj = dict[str, Any]

INFO = {"title": "Kubernetes", "version": "v1.32.4"}
PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "pretty")


class OpenApi:
    """Documents by path, for one generation of the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._documents: dict[str, bytes] = {}

    def respond(self, path: str, request: Request) -> Response:
        """`/openapi/v2`, `/openapi/v3`, `/openapi/v3/{group version path}`. Raises: ApiError 404, 406."""
        accept = request.headers.get("accept", "")
        if "json" not in accept and "*/*" not in accept and accept:
            raise status.not_acceptable("application/json")
        if self._generation != self._registry.generation:
            self._documents, self._generation = {}, self._registry.generation
        if path not in self._documents:
            self._documents[path] = dump(self._make(path))
        body = self._documents[path]
        tag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
        if request.headers.get("if-none-match") == tag:
            return Response(304)
        return Response(200, body, headers=[("ETag", tag), ("Vary", "Accept")])

    def _make(self, path: str) -> Obj:
        if path == "/openapi/v2":
            rows = self._registry.all()
            paths = {name: entry for r in rows for name, entry in _paths(r, "#/definitions/", True).items()}
            return {"swagger": "2.0", "info": INFO, "paths": paths, "definitions": _schemas(rows, "#/definitions/")}
        if path == "/openapi/v3":
            found = {_group_path(g, v): {"serverRelativeURL": f"/openapi/v3/{_group_path(g, v)}?hash={self._registry.generation}"}
                     for g, versions in groups(self._registry).items() for v in versions}  # fmt: skip
            return {"paths": found}
        for group, versions in groups(self._registry).items():
            for version, rows in versions.items():
                if path == f"/openapi/v3/{_group_path(group, version)}":
                    prefix = "#/components/schemas/"
                    paths = {name: entry for r in rows for name, entry in _paths(r, prefix, False).items()}
                    return {"openapi": "3.0.0", "info": INFO, "paths": paths, "components": {"schemas": _schemas(rows, prefix)}}
        raise status.no_such_resource()


def _group_path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _name(resource: Resource) -> str:
    """The definition's name, in the reversed-domain form that clients show."""
    if not resource.custom:
        return f"io.k8s.api.{resource.schema['$ref']}"
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def _schemas(rows: list[Resource], prefix: str) -> Obj:
    out: Obj = {}
    for resource in rows:
        schema = {**full_schema(resource), "x-kubernetes-group-version-kind": [{"group": resource.group, "version": resource.version, "kind": resource.kind}]}
        out[_name(resource)] = _rewrite(schema, prefix, out)
    return out


def _rewrite(node: Any, prefix: str, out: Obj) -> Any:
    """A schema with its references made absolute; what it refers to is added to `out`."""
    if isinstance(node, list):
        return [_rewrite(entry, prefix, out) for entry in node]
    if not isinstance(node, dict):
        return node
    made = {key: value if key in ("default", "enum") else _rewrite(value, prefix, out) for key, value in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = f"io.k8s.api.{reference}"
        if name not in out:
            out[name] = {}
            out[name] = _rewrite(definitions()[reference], prefix, out)
        return {"allOf": [{"$ref": prefix + name}], **{k: v for k, v in made.items() if k != "$ref"}} if "components" in prefix else {"$ref": prefix + name}
    if made.pop("x-kubernetes-int-or-string", False):
        if "components" in prefix:
            return {**made, "x-kubernetes-int-or-string": True, "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {**made, "type": "string", "format": "int-or-string"}
    return made


def _paths(resource: Resource, prefix: str, v2: bool) -> Obj:
    """The collection's and the object's path. kubectl looks for `fieldValidation` among the parameters of a kind's PATCH."""
    base = f"/{_group_path(resource.group, resource.version)}/" + ("namespaces/{namespace}/" if resource.namespaced else "") + resource.plural
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    where = [_parameter("namespace", "path", v2)] if resource.namespaced else []

    def operation(action: str, *, named: bool, write: bool) -> Obj:
        parameters = [*where, *([_parameter("name", "path", v2)] if named else []), *([_parameter(p, "query", v2) for p in PARAMETERS] if write else [])]
        schema = {"$ref": prefix + _name(resource)}
        answer = {"description": "OK", **({"schema": schema} if v2 else {"content": {"application/json": {"schema": schema}}})}
        return {"x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind, "parameters": parameters, "responses": {"200": answer}}

    found: Obj = {base: {"post": operation("post", named=False, write=True)}}
    if "list" in resource.verbs:
        found[base]["get"] = operation("list", named=False, write=False)
    if "get" in resource.verbs:
        found[base + "/{name}"] = {
            "get": operation("get", named=True, write=False), "put": operation("put", named=True, write=True),
            "patch": operation("patch", named=True, write=True), "delete": operation("delete", named=True, write=False),
        }  # fmt: skip
    return found


def _parameter(name: str, place: str, v2: bool) -> Obj:
    entry: Obj = {"name": name, "in": place}
    if place == "path":
        entry["required"] = True
    return {**entry, "type": "string", "uniqueItems": True} if v2 else {**entry, "schema": {"type": "string", "uniqueItems": True}}
