"""Scenes about reading: discovery, lists, selectors, watches, tables."""

from __future__ import annotations

import re
from typing import Any

from tests.support.kube_scenes import (
    AGGREGATED,
    HISTORY,
    MERGE,
    PARTIAL,
    PARTIAL_LIST,
    TABLE,
    Json,
    Session,
    config,
    crd,
    deployment,
    pod,
    scene,
)

SERVED = {
    "v1": ["pods", "pods/log", "pods/exec", "pods/status", "pods/binding", "services", "services/status", "configmaps", "secrets", "namespaces", "namespaces/finalize", "nodes",
           "serviceaccounts", "serviceaccounts/token", "events", "endpoints"],
    "apps/v1": ["deployments", "deployments/scale", "deployments/status", "replicasets", "statefulsets", "daemonsets"],
    "batch/v1": ["jobs", "cronjobs"],
    "discovery.k8s.io/v1": ["endpointslices"],
    "coordination.k8s.io/v1": ["leases"],
    "rbac.authorization.k8s.io/v1": ["roles", "rolebindings", "clusterroles", "clusterrolebindings"],
    "admissionregistration.k8s.io/v1": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
    "apiextensions.k8s.io/v1": ["customresourcedefinitions"],
    "authentication.k8s.io/v1": ["tokenreviews", "selfsubjectreviews"],
    "authorization.k8s.io/v1": ["selfsubjectaccessreviews", "subjectaccessreviews", "selfsubjectrulesreviews"],
}  # fmt: skip


@scene
def discovery_of_every_resource_that_we_serve(s: Session) -> Any:
    found = {}
    for group, names in SERVED.items():
        listing = s.good("GET", f"/api/{group}" if "/" not in group else f"/apis/{group}")
        by_name = {item["name"]: {k: v for k, v in item.items() if k != "storageVersionHash"} for item in listing["resources"]}
        found[group] = [listing["kind"], listing["groupVersion"], {name: by_name.get(name) for name in names}]
    return found


@scene
def aggregated_discovery_says_the_same(s: Session) -> Any:
    found = {}
    for root in ("/api", "/apis"):
        answer = s.call("GET", root, accept=AGGREGATED)
        for group in answer.body["items"]:
            for version in group["versions"]:
                name = "/".join(filter(None, (group["metadata"].get("name"), version["version"])))
                for item in version["resources"]:
                    if item["resource"] in SERVED.get(name, ()):
                        subs = [sub for sub in item.get("subresources", ()) if f"{item['resource']}/{sub['subresource']}" in SERVED[name]]
                        found[f"{name} {item['resource']}"] = {**item, "subresources": subs}
    return found


@scene
def pages_of_a_list_are_one_snapshot(s: Session) -> Any:
    for number in range(5):
        s.good("POST", "configmaps", config(f"c{number}"))
    first = s.good("GET", "configmaps", limit=2)
    s.good("POST", "configmaps", config("c9"))
    s.good("DELETE", "configmaps/c4")
    pages, page = [first], first
    while page["metadata"].get("continue"):
        page = s.good("GET", "configmaps", limit=2, **{"continue": page["metadata"]["continue"]})
        pages.append(page)
    one_version = len({page["metadata"]["resourceVersion"] for page in pages}) == 1
    return [one_version, [[[item["metadata"]["name"] for item in page["items"]], page["metadata"].get("remainingItemCount")] for page in pages]]


@scene
def continue_tokens_that_are_none(s: Session) -> Any:
    return [s.call("GET", "configmaps", limit=2, **{"continue": "what?"}).outcome()[:2], s.call("GET", "configmaps", limit="x").outcome()[:2]]


@scene
def field_selectors(s: Session) -> Any:
    s.good("POST", "pods", pod("bound", nodeName="n1"))
    s.good("POST", "pods", pod("waits"))
    found = {}
    for selector in ("spec.nodeName=n1", "spec.nodeName=", "spec.nodeName!=n1", "metadata.name=waits", "status.phase=Pending,metadata.name!=waits", "spec.serviceAccountName=default", "status.podIP=1.2.3.4"):
        found[selector] = [item["metadata"]["name"] for item in s.good("GET", "pods", fieldSelector=selector)["items"]]
    return [found, s.call("GET", "pods", fieldSelector="spec.nonsense=1").outcome()[:2], s.call("GET", "pods", fieldSelector="a b").outcome()[:2]]


@scene
def label_selectors(s: Session) -> Any:
    for name, labels in (("x", {"a": "1"}), ("y", {"a": "2", "b": ""}), ("z", {})):
        s.good("POST", "configmaps", config(name, labels=labels))
    selectors = ("a=1", "a==2", "a!=1", "a in (1,2)", "a notin (1)", "a", "!a", "b=", "a=2,b")
    return {text: [item["metadata"]["name"] for item in s.good("GET", "configmaps", labelSelector=text)["items"]] for text in selectors}


@scene
def watch_from_a_version_sees_what_came_after(s: Session) -> Any:
    s.good("POST", "configmaps", config("before"))
    version = s.good("GET", "configmaps")["metadata"]["resourceVersion"]
    s.good("POST", "configmaps", config("c", labels={"a": "1"}))
    s.good("PATCH", "configmaps/c", {"data": {"k": "w"}}, MERGE)
    s.good("PATCH", "configmaps/c", {"metadata": {"labels": {"a": "2"}}}, MERGE)
    s.good("DELETE", "configmaps/c")

    def seen(count: int, **query: Any) -> Any:
        events = s.watch("configmaps", count, resourceVersion=version, **query)
        return [[event["type"], event["object"]["metadata"]["name"], event["object"]["data"], event["object"]["metadata"].get("labels")] for event in events]

    return [seen(4), seen(3, labelSelector="a=1"), seen(2, labelSelector="a=2"), seen(4, fieldSelector="metadata.name=c")]


@scene
def watch_list_sends_what_there_is_and_a_bookmark(s: Session) -> Any:
    for name in ("one", "two"):
        s.good("POST", "configmaps", config(name))
    events = s.watch("configmaps", 3, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true", resourceVersion="")
    mark = events[-1]["object"]["metadata"]
    names = sorted(event["object"]["metadata"].get("name", "") for event in events[:-1])
    refused = s.call("GET", "configmaps", watch="true", sendInitialEvents="true")
    return [[event["type"] for event in events], names, mark.get("annotations"), mark["resourceVersion"] != "", refused.outcome(), refused.causes()]


@scene
def watches_from_versions_that_are_none(s: Session) -> Any:
    path = s.established(crd("olds", "Old", {"type": "object"}))
    for number in range(HISTORY + 20):  # a real server remembers none from before the kind was there, ours as many as it was told to
        s.good("POST", "configmaps", config(f"c{number}"))
    error = s.watch(path, 1, resourceVersion="1")[0]
    unreadable = s.call("GET", "configmaps", watch="true", resourceVersion="abc")
    return {"too old": [error["type"], error["object"].get("code"), error["object"].get("reason")], "unreadable": unreadable.code >= 400}


@scene
def lists_at_a_version(s: Session) -> Any:
    s.good("POST", "configmaps", config("a"))
    version = s.good("GET", "configmaps")["metadata"]["resourceVersion"]
    s.good("POST", "configmaps", config("b"))

    def names(**query: Any) -> Any:
        answer = s.call("GET", "configmaps", **query)
        return [item["metadata"]["name"] for item in answer.body["items"]] if answer.code == 200 else [answer.outcome(), answer.causes()]

    return {
        "any": names(resourceVersion="0") != [],
        "not older": names(resourceVersion=version, resourceVersionMatch="NotOlderThan"),
        "exact": names(resourceVersion=version, resourceVersionMatch="Exact"),
        "match alone": names(resourceVersionMatch="Exact"),
        "exact 0": names(resourceVersion="0", resourceVersionMatch="Exact"),
        "no match of that name": names(resourceVersion=version, resourceVersionMatch="Best"),
    }


@scene
def tables_as_kubectl_asks_for_them(s: Session) -> Any:
    s.good("POST", "pods", pod("p", {"app": "p"}))
    s.good("POST", "services", {"metadata": {"name": "svc"}, "spec": {"selector": {"app": "p"}, "ports": [{"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP", "name": "dns"}]}})
    s.good("POST", s.apps("deployments"), deployment("d"))
    s.good("POST", "configmaps", config("c"))
    s.good("POST", "secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}})
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}, {"name": "Note", "type": "string", "jsonPath": ".metadata.annotations.note", "priority": 1, "description": "a note"}]
    kind = crd("tables", "Tabled", {"type": "object", "properties": {"size": {"type": "integer"}}}, additionalPrinterColumns=columns)
    path = s.established(kind)
    s.good("POST", path, {"apiVersion": "scenes.example.com/v1", "kind": "Tabled", "metadata": {"name": "t"}, "spec": {"size": 3}})
    found = {}
    for collection in ("pods", "services", "configmaps", "secrets", s.apps("deployments"), path, "serviceaccounts"):
        table = s.call("GET", collection, accept=TABLE).body
        shown = [[_cell(definition["name"], cell) for definition, cell in zip(table["columnDefinitions"], row["cells"], strict=True)] for row in table["rows"]]
        columns_of = [[c["name"], c["type"], c["format"], c["priority"]] for c in table["columnDefinitions"]]
        found[collection.rpartition("/")[2]] = [table["kind"], columns_of, shown, table["rows"][0]["object"]["kind"], sorted(table["metadata"])]
    return found


def _cell(name: str, cell: Any) -> Any:
    return "*" if name in ("Age", "Cluster-IP") or (isinstance(cell, str) and re.fullmatch(r"\d+s|<invalid>", cell)) else cell


@scene
def tables_with_and_without_objects(s: Session) -> Any:
    s.good("POST", "configmaps", config("c"))
    found = {}
    for include in ("None", "Metadata", "Object", "Nonsense"):
        answer = s.call("GET", "configmaps/c", accept=TABLE, includeObject=include)
        row = answer.body["rows"][0].get("object") if answer.code == 200 else None
        found[include] = [answer.outcome()[:2], row and row["kind"], sorted(row) if row else None]
    events = s.watch("configmaps", 1, TABLE, resourceVersion="0")
    found["watch"] = [[event["type"], event["object"]["kind"], len(event["object"]["rows"]), bool(event["object"].get("columnDefinitions"))] for event in events]
    return found


@scene
def metadata_alone(s: Session) -> Any:
    s.good("POST", "configmaps", config("c", labels={"a": "b"}))
    one = s.call("GET", "configmaps/c", accept=PARTIAL).body
    many = s.call("GET", "configmaps", accept=PARTIAL_LIST).body
    events = s.watch("configmaps", 1, PARTIAL, resourceVersion="0")
    return [one["kind"], one["apiVersion"], sorted(one), one["metadata"]["labels"], many["kind"], many["apiVersion"], [sorted(item) for item in many["items"]],
            [[event["type"], event["object"]["kind"], sorted(event["object"])] for event in events]]  # fmt: skip


@scene
def formats_that_are_not_served(s: Session) -> Any:
    found: Json = {}
    for accept in ("text/html", "application/json;as=Nonsense;v=v1;g=meta.k8s.io", "application/yaml", "*/*"):
        answer = s.call("GET", "configmaps", accept=accept)
        found[accept] = [answer.code, answer.headers.get("content-type")]
    return found
