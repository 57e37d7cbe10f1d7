"""Scenes about kinds: what is served, several versions of one, rich objects and their defaults, lists with the same thing twice."""

from __future__ import annotations

import time
from typing import Any

from tests.support.kube_scenes import MERGE, Json, Session, config, crd, deployment, pod, scene
from tests.support.kube_scenes_admission import entry, registered

STRATEGIC = "application/strategic-merge-patch+json"
GROUP = "/apis/scenes.example.com"


@scene
def resources_that_are_served(s: Session) -> Any:
    """By group and version, with their subresources; custom kinds of other scenes aside."""
    groups = s.good("GET", "/apis")["groups"]
    versions = ["v1", *(version["groupVersion"] for group in groups for version in group["versions"])]
    found = {}
    for version in versions:
        if not version.startswith("scenes.example.com"):
            listing = s.good("GET", f"/api/{version}" if "/" not in version else f"/apis/{version}")
            found[version] = [item["name"] for item in listing["resources"]]
    return sorted(f"{version} {name}" for version, names in found.items() for name in names)


@scene
def two_versions_of_a_custom_kind(s: Session) -> Any:
    definition = crd("twins", "Twin", {"type": "object", "properties": {"a": {"type": "string"}}})
    (first,) = definition["spec"]["versions"]
    older = {**first, "name": "v1beta1", "storage": False, "deprecated": True, "deprecationWarning": "use v1"}
    definition["spec"]["versions"] = [first, older, {**older, "name": "v1alpha1", "served": False, "deprecated": False, "deprecationWarning": None}]
    path = s.established(definition)
    other = path.replace("/v1/", "/v1beta1/")
    asked: list[Json] = []
    with registered(s, "Validating", entry(s, rules=[{"apiGroups": ["scenes.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["twins"]}])):
        s.hook.decide = lambda request: (asked.append(request), {"allowed": True})[1]
        made = s.call("POST", other, {"apiVersion": "scenes.example.com/v1beta1", "kind": "Twin", "metadata": {"name": "t"}, "spec": {"a": "b"}})
    told = [[request["kind"], request["requestKind"], request["object"]["apiVersion"]] for request in asked]
    with registered(s, "Validating", entry(s, matchPolicy="Exact", rules=[{"apiGroups": ["scenes.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["twins"]}])):
        s.hook.decide = lambda request: {"allowed": False}
        unasked = s.call("POST", other, {"apiVersion": "scenes.example.com/v1beta1", "kind": "Twin", "metadata": {"name": "u"}})
    read = s.good("GET", f"{path}/t")
    event = s.watch(other, 1, resourceVersion="0")[0]["object"]["apiVersion"]
    unserved = s.call("GET", path.replace("/v1/", "/v1alpha1/"))
    mixed = s.call("POST", path, {"apiVersion": "scenes.example.com/v1beta1", "kind": "Twin", "metadata": {"name": "m"}})
    s.good("PATCH", f"{other}/t", {"spec": {"a": "c"}}, MERGE)
    versions = next(group for group in s.good("GET", "/apis")["groups"] if group["name"] == "scenes.example.com")
    return [made.code, made.body.get("apiVersion"), made.headers.get("warning"), told, unasked.code, read["apiVersion"], read["spec"], read["metadata"]["generation"], event, unserved.code,
            mixed.outcome()[:2], s.good("GET", f"{path}/t")["spec"], s.good("GET", f"{path}/t")["metadata"]["generation"], [version["version"] for version in versions["versions"]][:2], versions["preferredVersion"]["version"]]  # fmt: skip


@scene
def a_definition_that_changes_and_goes(s: Session) -> Any:
    definition = crd("changings", "Changing", {"type": "object", "properties": {"a": {"type": "integer"}}})
    path = s.established(definition)
    base: Json = {"apiVersion": "scenes.example.com/v1", "kind": "Changing"}
    s.good("POST", path, {**base, "metadata": {"name": "one"}, "spec": {"a": 1}})
    name = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
    schema = s.good("GET", name)["spec"]["versions"]
    schema[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["a"] = {"type": "integer", "minimum": 5, "default": 7}
    s.good("PATCH", name, {"spec": {"versions": schema}}, MERGE)
    body: Json = {**base, "metadata": {"name": "two"}, "spec": {"a": 3}}
    deadline = time.monotonic() + 20
    while s.call("POST", path, body, dryRun="All").code != 422:
        assert time.monotonic() < deadline, "the new schema is not served"
        time.sleep(0.05)
    # What did not fit before may stay while it is not touched: ratcheting.
    untouched = s.call("PATCH", f"{path}/one", {"metadata": {"labels": {"l": "m"}}}, MERGE)
    touched = s.call("PATCH", f"{path}/one", {"spec": {"a": 2}}, MERGE)
    defaulted = s.good("POST", path, {**base, "metadata": {"name": "three"}, "spec": {}})["spec"]
    s.good("DELETE", name)
    while s.call("GET", name).code != 404:
        assert time.monotonic() < deadline + 40, "the definition does not go"
        time.sleep(0.05)
    while (gone := s.call("GET", path)).code != 404:
        assert time.monotonic() < deadline + 40, "the kind is served still"
        time.sleep(0.05)
    return [untouched.code, touched.outcome()[:2], touched.causes(), defaulted, gone.code]


@scene
def defaults_of_rich_objects(s: Session) -> Any:
    probe = {"httpGet": {"port": 80}}
    container = {"name": "a", "image": "registry.example.com/i", "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}], "livenessProbe": probe, "startupProbe": {"tcpSocket": {"port": 80}, "timeoutSeconds": 3},
                 "readinessProbe": {"grpc": {"port": 9}}, "lifecycle": {"preStop": {"httpGet": {"port": 80}}, "postStart": {"exec": {"command": ["true"]}}}, "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "0.1"}},
                 "env": [{"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}, {"name": "E"}], "securityContext": {"runAsUser": 1}}  # fmt: skip
    volumes = [{"name": "c", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "s"}}, {"name": "e", "emptyDir": {}}, {"name": "d", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
               {"name": "h", "hostPath": {"path": "/x"}}, {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"configMap": {"name": "c"}}]}}]  # fmt: skip
    sidecar = {"name": "side", "image": "i@sha256:" + "0" * 64, "restartPolicy": "Always"}
    made = s.good("POST", "pods", {"metadata": {"name": "rich"}, "spec": {"containers": [container], "initContainers": [sidecar, {"name": "once", "image": "i:latest"}], "volumes": volumes, "automountServiceAccountToken": False,
                                  "tolerations": [{"key": "x", "operator": "Exists"}], "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}})  # fmt: skip
    services = {}
    for name, spec in {
        "node-port": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "targetPort": "http"}]}, "balanced": {"type": "LoadBalancer", "ports": [{"port": 80, "appProtocol": "http"}]}, "named": {"type": "ExternalName", "externalName": "example.com"},
        "headless": {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}], "publishNotReadyAddresses": True}, "sticky": {"sessionAffinity": "ClientIP", "selector": {"a": "b"}, "ports": [{"port": 80}, {"name": "x", "port": 81}][:1]},
    }.items():  # fmt: skip
        spec = s.good("POST", "services", {"metadata": {"name": name}, "spec": {"selector": {"a": "b"}, **spec}})["spec"]
        for port in spec.get("ports", ()):
            if port.get("nodePort") and port["nodePort"] != 30080:
                port["nodePort"] = "*"
        if spec.get("clusterIP") not in (None, "None"):
            spec["clusterIP"], spec["clusterIPs"] = "*", ["*"]
        services[name] = spec
    deployments = [
        s.good("POST", s.apps("deployments"), deployment(name, **spec))["spec"]
        for name, spec in {"plain": {}, "recreate": {"strategy": {"type": "Recreate"}}, "rolling": {"strategy": {"rollingUpdate": {"maxSurge": 2}}, "paused": True, "progressDeadlineSeconds": 5}}.items()
    ]
    for spec in deployments:
        spec["template"].pop("metadata")
    return [made["spec"], made["status"], services, deployments]


@scene
def the_same_twice_in_lists(s: Session) -> Any:
    """What may be there twice, and what may not."""
    port = {"containerPort": 80}

    def pods(**more: Any) -> Any:
        spec = {"containers": [{"name": "a", "image": "i:1", **more.pop("container", {})}, *more.pop("others", [])], **more}
        return s.call("POST", "pods", {"metadata": {"name": "twice"}, "spec": spec}, dryRun="All")

    variable = {"name": "V", "value": "1"}
    mounts = [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]
    volume = {"name": "v", "emptyDir": {}}
    found = {
        "containers": pods(others=[{"name": "a", "image": "i:2"}]), "container and init container": pods(initContainers=[{"name": "a", "image": "i:2"}]), "variables": pods(container={"env": [variable, {**variable, "value": "2"}]}),
        "ports": pods(container={"ports": [port, port]}), "port names": pods(container={"ports": [{**port, "name": "p"}, {"containerPort": 81, "name": "p"}]}), "host ports": pods(container={"ports": [{**port, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}]}),
        "volumes": pods(volumes=[volume, volume]), "mounts": pods(volumes=[volume], container={"volumeMounts": mounts}), "pull secrets": pods(imagePullSecrets=[{"name": "s"}, {"name": "s"}]),
        "tolerations": pods(tolerations=[{"operator": "Exists"}, {"operator": "Exists"}]), "host aliases": pods(hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a"]}] * 2), "gates": pods(schedulingGates=[{"name": "a.b/c"}, {"name": "a.b/c"}]),
        "service ports": s.call("POST", "services", {"metadata": {"name": "twice"}, "spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}}, dryRun="All"),
        "service port names": s.call("POST", "services", {"metadata": {"name": "twice"}, "spec": {"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}}, dryRun="All"),
        "service ports without names": s.call("POST", "services", {"metadata": {"name": "twice"}, "spec": {"ports": [{"port": 80}, {"port": 81}]}}, dryRun="All"),
        "finalizers": s.call("POST", "configmaps", config("twice", finalizers=["a.b/c", "a.b/c"]), dryRun="All"),
    }  # fmt: skip
    return {name: [answer.outcome()[:2], answer.causes()] for name, answer in found.items()}


@scene
def numbers_that_do_not_fit(s: Session) -> Any:
    answers = [s.call("POST", s.apps("deployments"), deployment("large", replicas=value), dryRun="All") for value in (1 << 31, 1.5, -1, 1e3)]
    return [[*answer.outcome()[:2], [cause[:2] for cause in answer.causes()]] for answer in answers]


@scene
def strategic_patches_and_their_directives(s: Session) -> Any:
    second = {"name": "b", "image": "b:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}
    body = deployment("web")
    body["spec"]["template"]["spec"]["containers"].append(second)
    body["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "c"}}]
    s.good("POST", s.apps("deployments"), body)

    def patched(spec: Json) -> Any:
        answer = s.call("PATCH", s.apps("deployments/web"), {"spec": {"template": {"spec": spec}}}, STRATEGIC)
        if answer.code >= 300:
            return answer.outcome()[:2]
        found = answer.body["spec"]["template"]["spec"]
        return [[[item["name"], item["image"], item.get("env")] for item in found["containers"]], found.get("volumes")]

    return [
        patched({"containers": [{"name": "b", "env": [{"name": "Y", "$patch": "delete"}, {"name": "Z", "value": "3"}]}]}),
        patched({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "b:2"}]}),
        patched({"volumes": [{"name": "w", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]}),
        patched({"volumes": [{"$patch": "replace"}, {"name": "only", "emptyDir": {}}]}),
        patched({"containers": [{"name": "b", "$patch": "delete"}]}),
        patched({"volumes": None}),
        patched({"containers": [{"image": "nameless:1"}]}),
        patched({"containers": [{"name": "a", "$patch": "nonsense"}]}),
        s.call("PATCH", s.apps("deployments/web"), {"metadata": {"annotations": {"a": None, "b": "c"}}}, STRATEGIC).code,
        s.call("PATCH", "configmaps/none", {"data": {}}, STRATEGIC).outcome(),
    ]


@scene
def bookmarks_before_a_watch_ends(s: Session) -> Any:
    s.good("POST", "configmaps", config("before"))
    version = s.good("GET", "configmaps")["metadata"]["resourceVersion"]
    found = []
    for wanted in ("true", "false"):
        events = s.watch("configmaps", 5, resourceVersion=version, allowWatchBookmarks=wanted, timeoutSeconds=4)
        found.append([[event["type"], event["object"]["kind"], sorted(event["object"]["metadata"]), int(event["object"]["metadata"]["resourceVersion"]) >= int(version)] for event in events[:1]])
    return found


@scene
def tokens_end_with_what_they_are_bound_to(s: Session) -> Any:
    def review(token: str) -> Any:
        status = s.good("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})["status"]
        return [status.get("authenticated", False), status.get("user", {}).get("username", ""), bool(status.get("error"))]

    made = s.good("POST", "pods", pod("p"))
    s.good("POST", "serviceaccounts", {"metadata": {"name": "short"}})
    s.good("POST", "secrets", {"metadata": {"name": "s"}})
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
    of_pod = s.good("POST", "serviceaccounts/default/token", {"spec": {"boundObjectRef": reference}})["status"]["token"]
    of_account = s.good("POST", "serviceaccounts/short/token", {"spec": {}})["status"]["token"]
    before = [review(of_pod), review(of_account)]
    s.good("DELETE", "pods/p", {"gracePeriodSeconds": 0})
    s.good("DELETE", "serviceaccounts/short")
    deadline = time.monotonic() + 30  # a real server remembers a good token for some seconds
    while review(of_pod)[0] or review(of_account)[0]:
        assert time.monotonic() < deadline, "the tokens do not end"
        time.sleep(0.1)
    refused = [s.call("POST", "serviceaccounts/default/token", {"spec": spec}).outcome()[:2] for spec in ({"expirationSeconds": 1}, {"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "c"}}, {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "none"}})]
    garbage = s.good("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "a.b.c"}})["status"]
    empty = s.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {}})
    return [before, [review(of_pod), review(of_account)], refused, garbage, empty.outcome()[:2], empty.body.get("status")]
