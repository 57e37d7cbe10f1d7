"""Server-side apply, patches, CustomResourceDefinitions through the real server."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from tests.support import apiserver as support
from tests.support.apiserver import call

server = support.module_server
api = support.module_admin

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
STRATEGIC, JSON = "application/strategic-merge-patch+json", "application/json-patch+json"


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 80}]}]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}


def apply(api: client.ApiClient, obj: dict[str, Any], manager: str, **query: Any) -> tuple[int, Any, dict[str, str]]:
    return call(api, "PATCH", f"{DEPLOYMENTS}/{obj['metadata']['name']}", obj, APPLY, fieldManager=manager, **query)


def test_apply_creates_owns_and_prunes_what_is_left_out(api: client.ApiClient) -> None:
    code, made, _ = apply(api, deployment("pruned", minReadySeconds=5, replicas=2), "ci")
    assert code == 201 and [m["operation"] for m in made["metadata"]["managedFields"]] == ["Apply"]
    owned = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert owned['k:{"name":"app"}']["f:ports"]['k:{"containerPort":80,"protocol":"TCP"}'] == {".": {}, "f:containerPort": {}}
    code, after, _ = apply(api, deployment("pruned", replicas=2), "ci")
    assert code == 200 and "minReadySeconds" not in after["spec"] and after["spec"]["replicas"] == 2


def test_conflict_names_the_field_and_manager_and_force_takes_it(api: client.ApiClient) -> None:
    apply(api, deployment("fought", replicas=2), "ci")
    call(api, "PATCH", f"{DEPLOYMENTS}/fought", {"spec": {"replicas": 5}}, MERGE, fieldManager="scaler")
    code, said, _ = apply(api, deployment("fought", replicas=2), "ci")
    assert (code, said["reason"]) == (409, "Conflict")
    cause = said["details"]["causes"][0]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".spec.replicas") and 'conflict with "scaler" using apps/v1' in cause["message"]
    code, after, _ = apply(api, deployment("fought", replicas=2), "ci", force="true")
    assert (code, after["spec"]["replicas"]) == (200, 2)
    assert [m["manager"] for m in after["metadata"]["managedFields"]] == ["ci"]


def test_managers_share_a_list_by_key(api: client.ApiClient) -> None:
    apply(api, deployment("shared"), "ci")
    sidecar = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shared"}, "spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "proxy:1"}]}}}}
    assert apply(api, sidecar, "mesh")[0] == 200
    _, after, _ = apply(api, deployment("shared"), "ci")
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["app", "proxy"]
    sidecar["spec"] = {}
    _, after, _ = apply(api, sidecar, "mesh")
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["app"]


def test_same_apply_again_writes_nothing(api: client.ApiClient) -> None:
    _, first, _ = apply(api, deployment("again"), "ci")
    _, second, _ = apply(api, deployment("again"), "ci")
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


def test_apply_needs_a_manager(api: client.ApiClient) -> None:
    code, said, _ = call(api, "PATCH", f"{DEPLOYMENTS}/x", deployment("x"), APPLY)
    assert code == 422 and "fieldManager: Required value" in said["message"]


def test_strategic_patch_merges_containers_by_name(api: client.ApiClient) -> None:
    call(api, "POST", DEPLOYMENTS, deployment("strategic"))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}, {"name": "new", "image": "new:1"}]}}}}
    _, after, _ = call(api, "PATCH", f"{DEPLOYMENTS}/strategic", patch, STRATEGIC)
    found = after["spec"]["template"]["spec"]["containers"]
    assert [(c["name"], c["image"]) for c in found] == [("app", "app:2"), ("new", "new:1")]
    assert found[0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "new", "$patch": "delete"}]}}}}
    _, after, _ = call(api, "PATCH", f"{DEPLOYMENTS}/strategic", patch, STRATEGIC)
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["app"]


def test_json_patch_and_its_failures(api: client.ApiClient) -> None:
    call(api, "POST", DEPLOYMENTS, deployment("jsonpatch"))
    ok = [{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 3}]
    assert call(api, "PATCH", f"{DEPLOYMENTS}/jsonpatch", ok, JSON)[1]["spec"]["replicas"] == 3
    code, said, _ = call(api, "PATCH", f"{DEPLOYMENTS}/jsonpatch", ok, JSON)
    assert code == 422 and "testing value failed" in said["message"]
    assert call(api, "PATCH", f"{DEPLOYMENTS}/jsonpatch", {}, "application/cbor")[0] == 415


def definition(**version: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object", "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1}, "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
                    "port": {"x-kubernetes-int-or-string": True}, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                              "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "string"}}}},
                },
            },
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}, "replicas": {"type": "integer"}}},
        },
    }  # fmt: skip
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}, {"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "priority": 1}]
    first = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "additionalPrinterColumns": columns,
             "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas"}}, **version}  # fmt: skip
    old = {"name": "v1beta1", "served": True, "storage": False, "deprecated": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    names = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": ["gd"], "categories": ["all"]}
    return {"metadata": {"name": "gadgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [first, old]}}


GADGETS = "/apis/example.com/v1/namespaces/default/gadgets"


@pytest.fixture(scope="module")
def gadgets(api: client.ApiClient) -> str:
    code, made, _ = call(api, "POST", CRDS, definition())
    assert code == 201, made
    assert {c["type"]: c["status"] for c in made["status"]["conditions"]} == {"NamesAccepted": "True", "Established": "True"}
    return GADGETS


def test_custom_objects_are_pruned_defaulted_and_validated(api: client.ApiClient, gadgets: str) -> None:
    body = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}, "spec": {"size": 2, "port": "http", "free": {"x": [1]}, "bogus": 1}}
    code, made, headers = call(api, "POST", gadgets, body)
    assert code == 201 and made["spec"] == {"size": 2, "port": "http", "free": {"x": [1]}, "mode": "fast"}
    assert headers["Warning"] == '299 - "unknown field \\"spec.bogus\\""'
    code, said, _ = call(api, "POST", gadgets, {**body, "metadata": {"name": "two"}, "spec": {"size": 0, "mode": "odd", "items": [{"name": "a"}, {"name": "a"}]}})
    assert code == 422
    assert {(c["reason"], c["field"]) for c in said["details"]["causes"]} == {
        ("FieldValueInvalid", "spec.size"), ("FieldValueNotSupported", "spec.mode"), ("FieldValueDuplicate", "spec.items[1]")}  # fmt: skip


def test_versions_status_scale_and_columns_of_a_custom_kind(api: client.ApiClient, gadgets: str) -> None:
    call(api, "POST", gadgets, {"metadata": {"name": "three"}, "spec": {"size": 3}, "status": {"ready": True}})
    code, old, headers = call(api, "GET", "/apis/example.com/v1beta1/namespaces/default/gadgets/three")
    assert code == 200 and old["apiVersion"] == "example.com/v1beta1" and "status" not in old and "deprecated" in headers["Warning"]
    _, after, _ = call(api, "PATCH", f"{gadgets}/three/status", {"status": {"ready": True}, "spec": {"size": 9}}, MERGE)
    assert (after["status"], after["spec"]["size"], after["metadata"]["generation"]) == ({"ready": True}, 3, 1)
    _, scale, _ = call(api, "PATCH", f"{gadgets}/three/scale", {"spec": {"replicas": 4}}, MERGE)
    assert scale["spec"]["replicas"] == 4
    assert call(api, "PATCH", f"{gadgets}/three", {}, STRATEGIC)[0] == 415
    answer = api.rest_client.pool_manager.request("GET", f"{api.configuration.host}{gadgets}/three", headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    table = answer.json()
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Mode"] and table["rows"][0]["cells"] == ["three", 4, "fast"]


def test_apply_merges_keyed_lists_of_custom_kinds(api: client.ApiClient, gadgets: str) -> None:
    def config(*names: str) -> dict[str, Any]:
        return {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "keyed"}, "spec": {"size": 1, "items": [{"name": n} for n in names]}}

    call(api, "PATCH", f"{gadgets}/keyed", config("a", "b"), APPLY, fieldManager="one")
    code, _, _ = call(api, "PATCH", f"{gadgets}/keyed", config("c"), APPLY, fieldManager="two")
    assert code == 200
    _, after, _ = call(api, "PATCH", f"{gadgets}/keyed", config("b"), APPLY, fieldManager="one")
    assert [i["name"] for i in after["spec"]["items"]] == ["b", "c"]


def test_bad_definitions_are_refused_with_the_field(api: client.ApiClient) -> None:
    code, said, _ = call(api, "POST", CRDS, definition(schema={"openAPIV3Schema": {"type": "object", "properties": {"spec": {"properties": {"a": {"type": "array"}}}}}}))
    fields = {c["field"] for c in said["details"]["causes"]}
    where = "spec.versions[0].schema.openAPIV3Schema.properties[spec]"
    assert code == 422 and {f"{where}.type", f"{where}.properties[a].items"} <= fields
    wrong = definition()
    wrong["metadata"]["name"] = "other.example.com"
    wrong["spec"]["conversion"] = {"strategy": "Webhook"}
    code, said, _ = call(api, "POST", CRDS, wrong)
    assert code == 422 and {c["field"] for c in said["details"]["causes"]} == {"metadata.name", "spec.conversion.strategy"}


def test_deleting_a_definition_deletes_its_objects_first(api: client.ApiClient) -> None:
    made = definition()
    made["metadata"]["name"] = "widgets.example.org"
    made["spec"]["group"], made["spec"]["names"] = "example.org", {"plural": "widgets", "kind": "Widget"}
    assert call(api, "POST", CRDS, made)[0] == 201
    widgets = "/apis/example.org/v1/namespaces/default/widgets"
    assert call(api, "POST", widgets, {"metadata": {"name": "held", "finalizers": ["example.org/x"]}, "spec": {"size": 1}})[0] == 201
    _, ending, _ = call(api, "DELETE", f"{CRDS}/widgets.example.org")
    lines = api.rest_client.pool_manager.request("GET", f"{api.configuration.host}{CRDS}?watch=1&timeoutSeconds=20&fieldSelector=metadata.name%3Dwidgets.example.org&resourceVersion={ending['metadata']['resourceVersion']}", preload_content=False)
    assert call(api, "GET", f"{CRDS}/widgets.example.org")[0] == 200
    call(api, "PATCH", f"{widgets}/held", {"metadata": {"finalizers": None}}, MERGE)
    assert b'"type":"DELETED"' in lines.read1(65536)
    lines.close()
    lines.release_conn()
    assert call(api, "GET", widgets)[0] == 404
