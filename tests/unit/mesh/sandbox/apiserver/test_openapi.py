from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.sandbox.apiserver.http import Request
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.openapi import OpenApi
from mesh.sandbox.apiserver.registry import Registry, Resource
from mesh.sandbox.apiserver.status import ApiError

REGISTRY = Registry(builtin())


def get(path: str, api: OpenApi | None = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    reply = (api or OpenApi(REGISTRY)).respond(path, Request("GET", path, path, {}, headers, [], b""))
    return reply.status, json.loads(reply.body) if reply.body else None, dict(reply.headers)


@pytest.mark.parametrize(("path", "prefix"), [("/openapi/v2", "#/definitions/"), ("/openapi/v3/api/v1", "#/components/schemas/"), ("/openapi/v3/apis/apps/v1", "#/components/schemas/")])
def test_every_reference_resolves(path: str, prefix: str) -> None:
    _, document, _ = get(path)
    schemas = document["definitions"] if path.endswith("v2") else document["components"]["schemas"]

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                assert node["$ref"].startswith(prefix) and node["$ref"].removeprefix(prefix) in schemas
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)


def test_patch_names_field_validation() -> None:
    _, document, _ = get("/openapi/v3/apis/apps/v1")
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in [p["name"] for p in patch["parameters"]]


def test_index_and_etag_follow_the_registry() -> None:
    registry = Registry(builtin())
    api = OpenApi(registry)
    _, index, headers = get("/openapi/v3", api)
    assert index["paths"]["apis/apps/v1"]["serverRelativeURL"] == "/openapi/v3/apis/apps/v1?hash=0"
    assert get("/openapi/v3", api, **{"if-none-match": headers["ETag"]})[0] == 304
    registry.replace("gadgets.example.com", [Resource("example.com", "v1", "gadgets", "Gadget", True, custom=True, schema={"type": "object", "properties": {"spec": {"x-kubernetes-int-or-string": True}}})])
    _, index, _ = get("/openapi/v3", api)
    assert "apis/example.com/v1" in index["paths"]
    _, document, _ = get("/openapi/v3/apis/example.com/v1", api)
    assert document["components"]["schemas"]["com.example.v1.Gadget"]["properties"]["spec"]["oneOf"] == [{"type": "integer"}, {"type": "string"}]


def test_protobuf_only_and_unknown_groups_are_refused() -> None:
    for path, headers, code in (("/openapi/v2", {"accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}, 406), ("/openapi/v3/apis/none/v1", {}, 404)):
        with pytest.raises(ApiError) as refused:
            get(path, None, **headers)
        assert refused.value.code == code
