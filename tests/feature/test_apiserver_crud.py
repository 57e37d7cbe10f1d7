"""Objects through the real server: create, read, change, delete, as clients do it."""

from __future__ import annotations

from typing import Any

from kubernetes import client

from tests.support import apiserver as support
from tests.support.apiserver import call, pod

server = support.module_server
api = support.module_admin

CM = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def deployment(name: str, image: str = "app:1") -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


def test_created_object_has_identity_and_defaults(api: client.ApiClient) -> None:
    code, made, _ = call(api, "POST", DEPLOYMENTS, deployment("identity"))
    assert code == 201
    assert made["metadata"]["generation"] == 1 and made["metadata"]["uid"] and made["metadata"]["creationTimestamp"].endswith("Z")
    assert made["spec"]["replicas"] == 1 and made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert made["metadata"]["managedFields"][0]["operation"] == "Update"


def test_second_create_is_already_exists(api: client.ApiClient) -> None:
    call(api, "POST", CM, {"metadata": {"name": "twice"}})
    code, said, _ = call(api, "POST", CM, {"metadata": {"name": "twice"}})
    assert (code, said["reason"], said["details"]["name"]) == (409, "AlreadyExists", "twice")


def test_generate_name(api: client.ApiClient) -> None:
    names = {call(api, "POST", CM, {"metadata": {"generateName": "gen-"}})[1]["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3 and all(n.startswith("gen-") and len(n) == 9 for n in names)


def test_stale_update_conflicts_and_fresh_one_counts_generation(api: client.ApiClient) -> None:
    _, first, _ = call(api, "POST", DEPLOYMENTS, deployment("stale"))
    changed = {**first, "spec": {**first["spec"], "replicas": 3}}
    code, second, _ = call(api, "PUT", f"{DEPLOYMENTS}/stale", changed)
    assert (code, second["metadata"]["generation"]) == (200, 2)
    code, said, _ = call(api, "PUT", f"{DEPLOYMENTS}/stale", changed)
    assert (code, said["reason"]) == (409, "Conflict")


def test_status_is_written_through_its_own_door_only(api: client.ApiClient) -> None:
    _, made, _ = call(api, "POST", DEPLOYMENTS, {**deployment("door"), "status": {"replicas": 9}})
    assert made["status"] == {}
    code, after, _ = call(api, "PUT", f"{DEPLOYMENTS}/door/status", {**made, "spec": {**made["spec"], "replicas": 7}, "status": {"replicas": 4}})
    assert (code, after["status"]["replicas"], after["spec"]["replicas"], after["metadata"]["generation"]) == (200, 4, 1, 1)
    _, again, _ = call(api, "PATCH", f"{DEPLOYMENTS}/door", {"status": {"replicas": 5}}, "application/merge-patch+json")
    assert again["status"]["replicas"] == 4


def test_write_that_changes_nothing_keeps_the_revision(api: client.ApiClient) -> None:
    _, made, _ = call(api, "POST", CM, {"metadata": {"name": "same"}, "data": {"a": "b"}})
    _, after, _ = call(api, "PATCH", f"{CM}/same", {"data": {"a": "b"}}, "application/merge-patch+json")
    assert after["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_unknown_field_is_refused_warned_about_or_dropped(api: client.ApiClient) -> None:
    wrong = '{"metadata":{"name":"%s"},"data":{"a":"1","a":"2"},"dta":{}}'
    code, said, _ = call(api, "POST", CM, wrong % "strict", fieldValidation="Strict")
    assert code == 400 and said["message"].endswith('strict decoding error: duplicate field "data.a", unknown field "dta"')
    code, made, headers = call(api, "POST", CM, wrong % "warn")
    assert code == 201 and "dta" not in made
    assert headers["Warning"].count("299 - ") == 2
    code, _, headers = call(api, "POST", CM, wrong % "ignore", fieldValidation="Ignore")
    assert code == 201 and "Warning" not in headers


def test_wrong_type_is_a_bad_request_naming_the_field(api: client.ApiClient) -> None:
    wrong = deployment("type")
    wrong["spec"]["replicas"] = "three"
    code, said, _ = call(api, "POST", DEPLOYMENTS, wrong)
    assert code == 400 and "spec.replicas of type int32" in said["message"]


def test_invalid_object_lists_every_cause(api: client.ApiClient) -> None:
    wrong = deployment("Invalid_Name")
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    wrong["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 70000}]
    code, said, _ = call(api, "POST", DEPLOYMENTS, wrong)
    assert (code, said["reason"]) == (422, "Invalid")
    fields = {cause["field"] for cause in said["details"]["causes"]}
    assert fields == {"metadata.name", "spec.template.metadata.labels", "spec.template.spec.containers[0].ports[0].containerPort"}


def test_pages_are_of_one_revision(api: client.ApiClient) -> None:
    for number in range(5):
        call(api, "POST", CM, {"metadata": {"name": f"page-{number}", "labels": {"set": "pages"}}})
    _, first, _ = call(api, "GET", CM, labelSelector="set=pages", limit=2)
    call(api, "DELETE", f"{CM}/page-3")
    call(api, "POST", CM, {"metadata": {"name": "page-2a", "labels": {"set": "pages"}}})
    token, names = first["metadata"]["continue"], [i["metadata"]["name"] for i in first["items"]]
    while token:
        _, page, _ = call(api, "GET", CM, labelSelector="set=pages", limit=2, **{"continue": token})
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [i["metadata"]["name"] for i in page["items"]]
        token = page["metadata"].get("continue")
    assert names == [f"page-{n}" for n in range(5)]


def test_selectors(api: client.ApiClient) -> None:
    pods = "/api/v1/namespaces/default/pods"
    for name, tier in (("sel-a", "front"), ("sel-b", "back")):
        assert call(api, "POST", pods, pod(name, tier=tier))[0] == 201

    def names(**query: str) -> list[str]:
        return [i["metadata"]["name"] for i in call(api, "GET", pods, **query)[1]["items"]]

    assert names(labelSelector="tier in (front,side)") == ["sel-a"]
    assert names(labelSelector="tier,tier!=front") == ["sel-b"]
    assert names(fieldSelector="metadata.name=sel-b,status.phase=Pending") == ["sel-b"]
    assert names(fieldSelector="spec.nodeName!=") == []
    code, said, _ = call(api, "GET", pods, fieldSelector="spec.nope=1")
    assert code == 400 and 'field label not supported: "spec.nope"' in said["message"]


def test_pod_ends_gracefully_only_when_a_kubelet_has_it(api: client.ApiClient) -> None:
    pods = "/api/v1/namespaces/default/pods"
    call(api, "POST", pods, pod("free"))
    assert call(api, "DELETE", f"{pods}/free")[0] == 200
    assert call(api, "GET", f"{pods}/free")[0] == 404
    call(api, "POST", pods, pod("bound"))
    assert call(api, "POST", f"{pods}/bound/binding", {"target": {"kind": "Node", "name": "n1"}})[0] == 201
    _, ending, _ = call(api, "DELETE", f"{pods}/bound")
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 30 and ending["metadata"]["deletionTimestamp"]
    assert any(c["type"] == "PodScheduled" for c in ending["status"]["conditions"])
    assert call(api, "DELETE", f"{pods}/bound", {"gracePeriodSeconds": 0})[0] == 200
    assert call(api, "GET", f"{pods}/bound")[0] == 404


def test_finalizers_hold_an_object_until_they_are_gone(api: client.ApiClient) -> None:
    call(api, "POST", CM, {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    _, ending, _ = call(api, "DELETE", f"{CM}/held", propagationPolicy="Foreground")
    assert ending["metadata"]["finalizers"] == ["example.com/hold", "foregroundDeletion"]
    code, said, _ = call(api, "PATCH", f"{CM}/held", {"metadata": {"finalizers": ["example.com/hold", "example.com/new"]}}, "application/merge-patch+json")
    assert code == 422 and "no new finalizers can be added" in said["message"]
    call(api, "PATCH", f"{CM}/held", {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    assert call(api, "GET", f"{CM}/held")[0] == 404


def test_dry_run_stores_nothing(api: client.ApiClient) -> None:
    code, made, _ = call(api, "POST", CM, {"metadata": {"name": "dry"}}, dryRun="All")
    assert code == 201 and made["metadata"]["uid"]
    assert call(api, "GET", f"{CM}/dry")[0] == 404


def test_delete_collection_by_label(api: client.ApiClient) -> None:
    for number in range(3):
        call(api, "POST", CM, {"metadata": {"name": f"many-{number}", "labels": {"many": str(number % 2)}}})
    _, deleted, _ = call(api, "DELETE", CM, labelSelector="many=0")
    assert [i["metadata"]["name"] for i in deleted["items"]] == ["many-0", "many-2"]
    assert call(api, "GET", f"{CM}/many-1")[0] == 200


def test_service_gets_its_addresses(api: client.ApiClient) -> None:
    services = "/api/v1/namespaces/default/services"
    spec = {"ports": [{"port": 80, "name": "http"}], "selector": {"a": "b"}}
    _, made, _ = call(api, "POST", services, {"metadata": {"name": "svc-a"}, "spec": {**spec, "type": "NodePort"}})
    assert made["spec"]["clusterIP"].startswith("198.19.") and made["spec"]["clusterIPs"] == [made["spec"]["clusterIP"]]
    assert 30000 <= made["spec"]["ports"][0]["nodePort"] <= 32767 and made["spec"]["ports"][0]["targetPort"] == 80
    code, said, _ = call(api, "POST", services, {"metadata": {"name": "svc-b"}, "spec": {**spec, "clusterIP": made["spec"]["clusterIP"]}})
    assert code == 422 and "provided IP is already allocated" in said["message"]
    _, headless, _ = call(api, "POST", services, {"metadata": {"name": "svc-c"}, "spec": {**spec, "clusterIP": "None"}})
    assert headless["spec"]["clusterIPs"] == ["None"]
    code, said, _ = call(api, "POST", services, {"metadata": {"name": "svc-d"}, "spec": {**spec, "ipFamilies": ["IPv6"]}})
    assert code == 422 and said["details"]["causes"][0]["field"] == "spec.ipFamilies"


def test_scale_subresource_changes_the_object(api: client.ApiClient) -> None:
    call(api, "POST", DEPLOYMENTS, deployment("scaled"))
    code, scale, _ = call(api, "PATCH", f"{DEPLOYMENTS}/scaled/scale", {"spec": {"replicas": 4}}, "application/merge-patch+json")
    assert (code, scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == (200, "Scale", 4, "app=scaled")
    _, after, _ = call(api, "GET", f"{DEPLOYMENTS}/scaled")
    assert (after["spec"]["replicas"], after["metadata"]["generation"]) == (4, 2)


def test_event_is_the_same_object_in_both_groups(api: client.ApiClient) -> None:
    event = {"metadata": {"name": "e1"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "Started", "message": "hello", "type": "Normal"}
    assert call(api, "POST", "/api/v1/namespaces/default/events", event)[0] == 201
    _, modern, _ = call(api, "GET", "/apis/events.k8s.io/v1/namespaces/default/events/e1")
    assert (modern["note"], modern["regarding"]["name"], modern["apiVersion"]) == ("hello", "p", "events.k8s.io/v1")
    _, found, _ = call(api, "GET", "/api/v1/namespaces/default/events", fieldSelector="involvedObject.name=p,involvedObject.kind=Pod")
    assert [i["metadata"]["name"] for i in found["items"]] == ["e1"]


def test_namespace_ends_only_when_its_finalizer_is_taken(api: client.ApiClient) -> None:
    call(api, "POST", "/api/v1/namespaces", {"metadata": {"name": "ending"}})
    _, ending, _ = call(api, "DELETE", "/api/v1/namespaces/ending")
    assert ending["status"]["phase"] == "Terminating"
    code, said, _ = call(api, "POST", "/api/v1/namespaces/ending/configmaps", {"metadata": {"name": "late"}})
    assert code == 403 and said["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    _, present, _ = call(api, "GET", "/api/v1/namespaces/ending")
    present["spec"] = {}
    assert call(api, "PUT", "/api/v1/namespaces/ending/finalize", present)[0] == 200
    assert call(api, "GET", "/api/v1/namespaces/ending")[0] == 404
    assert call(api, "DELETE", "/api/v1/namespaces/default")[0] == 403
    assert call(api, "POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "a"}})[0] == 404


def test_what_nobody_implements_is_said_clearly(api: client.ApiClient) -> None:
    assert call(api, "POST", "/api/v1/namespaces/default/persistentvolumeclaims", {"metadata": {"name": "a"}})[0] == 404
    assert call(api, "DELETE", "/apis/authentication.k8s.io/v1/tokenreviews/x")[0] == 405
    code, said, headers = call(api, "POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", {"metadata": {"name": "np"}, "spec": {"podSelector": {}}})
    assert code == 201 and "does not enforce them" in headers["Warning"] and said["spec"]["policyTypes"] == ["Ingress"]
    code, said, _ = call(api, "POST", CM, b"\x00\x01", "application/x-unknown")
    assert (code, said["reason"]) == (415, "UnsupportedMediaType")
    code, said, _ = call(api, "POST", CM, b"{nope", "application/json")
    assert (code, said["reason"]) == (400, "BadRequest")
