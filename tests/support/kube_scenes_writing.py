"""Scenes about writing: names, deletion, dry runs, apply, scale, custom resources, accounts and events."""

from __future__ import annotations

import re
from typing import Any

from tests.support.kube_scenes import (
    APPLY,
    CRDS,
    JSON,
    MERGE,
    PATCH,
    Json,
    Session,
    claims,
    config,
    crd,
    deployment,
    pod,
    scene,
)

EVENTS = "/apis/events.k8s.io/v1/namespaces"


@scene
def generated_names(s: Session) -> Any:
    made = s.good("POST", "configmaps", {"metadata": {"generateName": "c-"}})["metadata"]
    long = s.good("POST", "configmaps", {"metadata": {"generateName": "x" * 70}})["metadata"]
    both = s.good("POST", "configmaps", {"metadata": {"generateName": "c-", "name": "own"}})["metadata"]
    shape = bool(re.fullmatch("c-[bcdfghjklmnpqrstvwxz2456789]{5}", made["name"]))
    return [shape, made["generateName"], len(long["name"]), both["name"], s.call("POST", "configmaps", {"metadata": {"generateName": "Bad_"}}).outcome()[:2]]


@scene
def conflicts(s: Session) -> Any:
    made = s.good("POST", "configmaps", config("c"))
    newer = s.good("PUT", "configmaps/c", {**made, "data": {"k": "2"}})
    stale = s.call("PUT", "configmaps/c", {**made, "data": {"k": "3"}})
    unconditional = s.call("PUT", "configmaps/c", config("c"))
    patched = s.call("PATCH", "configmaps/c", {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}, MERGE)
    other = s.call("PUT", "configmaps/c", {**newer, "metadata": {**newer["metadata"], "uid": "00000000-0000-0000-0000-000000000000", "resourceVersion": ""}})
    same = s.good("GET", "configmaps/c")["metadata"]["resourceVersion"]
    unchanged = s.good("PATCH", "configmaps/c", {"data": {"k": "v"}}, MERGE)["metadata"]["resourceVersion"] == same
    return [stale.outcome(), unconditional.outcome(), patched.outcome(), other.outcome()[:2], unchanged, s.call("PUT", "configmaps/none", config("none")).outcome()]


@scene
def deletion_with_preconditions_and_finalizers(s: Session) -> Any:
    made = s.good("POST", "configmaps", config("c", finalizers=["a.example.com/x"]))
    wrong = s.call("DELETE", "configmaps/c", {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}})
    stale = s.call("DELETE", "configmaps/c", {"preconditions": {"resourceVersion": "1"}})
    going = s.call("DELETE", "configmaps/c", {"preconditions": {"uid": made["metadata"]["uid"]}})
    still = s.good("GET", "configmaps/c")["metadata"]
    again = s.call("DELETE", "configmaps/c")
    writable = s.call("PATCH", "configmaps/c", {"data": {"k": "2"}}, MERGE)
    s.good("PATCH", "configmaps/c", {"metadata": {"finalizers": None}}, MERGE)
    gone = s.call("GET", "configmaps/c")
    return [wrong.outcome()[:2], stale.outcome()[:2], [going.code, going.body["kind"]], "deletionTimestamp" in still, still.get("deletionGracePeriodSeconds"), again.code,
            writable.code, gone.outcome(), s.call("DELETE", "configmaps/c").outcome()]  # fmt: skip


@scene
def pods_end_with_grace(s: Session) -> Any:
    found: Json = {}
    for name, body in (("default", None), ("five", {"gracePeriodSeconds": 5}), ("negative", {"gracePeriodSeconds": -1})):
        s.good("POST", "pods", pod(name, nodeName="n1"))
        answer = s.call("DELETE", f"pods/{name}", body)
        left = s.call("GET", f"pods/{name}")
        meta = left.body.get("metadata", {})
        found[name] = [answer.code, left.code, meta.get("deletionGracePeriodSeconds"), "deletionTimestamp" in meta]
    shorter = s.call("DELETE", "pods/default", {"gracePeriodSeconds": 1})
    found["shorter"] = [shorter.code, s.good("GET", "pods/default")["metadata"]["deletionGracePeriodSeconds"]]
    found["now"] = [s.call("DELETE", "pods/default", {"gracePeriodSeconds": 0}).code, s.call("GET", "pods/default").code]
    s.good("POST", "pods", pod("waits"))  # no node has it: nothing is to be waited for
    found["unbound"] = [s.call("DELETE", "pods/waits").code, s.call("GET", "pods/waits").code]
    return found


@scene
def collections_are_deleted_by_selector(s: Session) -> Any:
    for name, labels in (("x", {"a": "1"}), ("y", {"a": "1"}), ("z", {})):
        s.good("POST", "configmaps", config(name, labels=labels))
    answer = s.call("DELETE", "configmaps", labelSelector="a=1")
    return [answer.code, answer.body["kind"], [item["metadata"]["name"] for item in s.good("GET", "configmaps")["items"]]]


@scene
def owners(s: Session) -> Any:
    owner = s.good("POST", "configmaps", config("owner"))["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    good = s.call("POST", "configmaps", config("owned", ownerReferences=[{**reference, "controller": True, "blockOwnerDeletion": True}]))
    nameless = s.call("POST", "configmaps", config("bad", ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "uid": ""}]))
    two = s.call("POST", "configmaps", config("bad", ownerReferences=[{**reference, "controller": True}, {**reference, "uid": "other", "controller": True}]))
    return [good.code, nameless.outcome(), nameless.causes(), two.outcome()[:2], [cause[:2] for cause in two.causes()]]


@scene
def dry_runs_change_nothing(s: Session) -> Any:
    s.good("POST", "configmaps", config("there"))
    created = s.call("POST", "configmaps", config("c"), dryRun="All")
    patched = s.call("PATCH", "configmaps/there", {"data": {"k": "2"}}, MERGE, dryRun="All")
    applied = s.call("PATCH", "configmaps/new", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}}, APPLY, dryRun="All", fieldManager="m")
    deleted = s.call("DELETE", "configmaps/there", {"dryRun": ["All"]})
    refused = s.call("POST", "configmaps", config("c"), dryRun="Some")
    invalid = s.call("POST", "configmaps", {"metadata": {"name": "Bad_"}}, dryRun="All")
    left = {item["metadata"]["name"]: item["data"] for item in s.good("GET", "configmaps")["items"]}
    return [created.code, "uid" in created.body["metadata"], patched.body["data"], applied.code, deleted.code, refused.outcome(), refused.causes(), invalid.outcome()[:2], left]


@scene
def apply_tells_who_owns_what(s: Session) -> Any:
    path = s.apps("deployments/web")
    wish = deployment("web", replicas=2)
    first = s.call("PATCH", path, wish, APPLY, fieldManager="one")
    conflict = s.call("PATCH", path, {**wish, "spec": {**wish["spec"], "replicas": 3}}, APPLY, fieldManager="two")
    forced = s.call("PATCH", path, {**wish, "spec": {**wish["spec"], "replicas": 3}}, APPLY, fieldManager="two", force="true")
    updated = s.call("PATCH", path, {"spec": {"replicas": 4}}, MERGE, fieldManager="three")
    s.good("PATCH", s.apps("deployments/web/status"), {"status": {"replicas": 1}}, MERGE, fieldManager="controller")
    again = s.call("PATCH", path, wish, APPLY, fieldManager="one")
    less = deployment("web")
    given_up = s.call("PATCH", path, less, APPLY, fieldManager="two")
    managers = [
        [entry["manager"], entry["operation"], entry.get("subresource", ""), entry["fieldsType"], entry["fieldsV1"]]
        for entry in s.good("GET", path)["metadata"]["managedFields"]
    ]
    malformed = s.call("PATCH", path, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "managedFields": [{"manager": "x"}]}}, APPLY, fieldManager="one")
    wrong = s.call("PATCH", path, {"kind": "Deployment", "metadata": {"name": "web"}}, APPLY, fieldManager="one")
    other = s.call("PATCH", path, deployment("not-web"), APPLY, fieldManager="one")
    return [first.code, conflict.outcome(), conflict.causes(), forced.code, updated.code, again.outcome(), again.causes(), given_up.code, given_up.body["spec"]["replicas"],
            managers, malformed.outcome()[:2], wrong.outcome()[:2], other.outcome()[:2]]  # fmt: skip


@scene
def apply_of_custom_resources(s: Session) -> Any:
    items = {"type": "object", "required": ["key"], "properties": {"key": {"type": "string"}, "value": {"type": "string"}}}
    spec = {"type": "object", "properties": {
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"], "items": items},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}, "plain": {"type": "array", "items": {"type": "string"}},
        "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}}}}  # fmt: skip
    path = s.established(crd("applies", "Applied", spec))
    base = {"apiVersion": "scenes.example.com/v1", "kind": "Applied", "metadata": {"name": "a"}}

    def put(manager: str, **spec: Any) -> Any:
        answer = s.call("PATCH", f"{path}/a", {**base, "spec": spec}, APPLY, fieldManager=manager)
        return answer.body["spec"] if answer.code < 300 else [answer.outcome(), answer.causes()]

    return [
        put("one", map=[{"key": "x", "value": "1"}], set=["a"], plain=["p"], atomic={"k": "v"}),
        put("two", map=[{"key": "y", "value": "2"}], set=["b"]),
        put("two", map=[{"key": "x", "value": "9"}]),
        put("two", plain=["q"]),
        put("two", atomic={"l": "w"}),
        put("one", map=[], set=[]),
        [sorted(entry["fieldsV1"].get("f:spec", {})) for entry in s.good("GET", f"{path}/a")["metadata"]["managedFields"]],
    ]


@scene
def scale(s: Session) -> Any:
    s.good("POST", s.apps("deployments"), deployment("web", replicas=2))
    path = s.apps("deployments/web/scale")
    found = s.good("GET", path)
    put = s.call("PUT", path, {**found, "spec": {"replicas": 5}})
    negative = s.call("PATCH", path, {"spec": {"replicas": -1}}, MERGE)
    meta = found["metadata"]
    return [found["apiVersion"], found["kind"], found["spec"], found["status"], sorted(meta), put.code, put.body["spec"], s.good("GET", s.apps("deployments/web"))["spec"]["replicas"],
            negative.outcome()[:2], [cause[:2] for cause in negative.causes()]]  # fmt: skip


@scene
def scale_of_custom_resources(s: Session) -> Any:
    spec = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}
    path = s.established(crd("scales", "Scaled", spec, subresources={"scale": paths, "status": {}}))
    s.good("POST", path, {"apiVersion": "scenes.example.com/v1", "kind": "Scaled", "metadata": {"name": "a"}, "spec": {"replicas": 2}})
    s.good("PATCH", f"{path}/a/status", {"status": {"replicas": 1, "selector": "a=b"}}, MERGE)
    found = s.call("GET", f"{path}/a/scale")
    done = s.call("PATCH", f"{path}/a/scale", {"spec": {"replicas": 7}}, MERGE)
    return [found.code, found.body.get("spec"), found.body.get("status"), done.code, s.good("GET", f"{path}/a")["spec"]]


@scene
def defaults_and_pruning_of_custom_resources(s: Session) -> Any:
    spec = {"type": "object", "default": {}, "properties": {
        "mode": {"type": "string", "default": "fast"}, "nested": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, "either": {"x-kubernetes-int-or-string": True}, "nothing": {"type": "string", "nullable": True},
        "list": {"type": "array", "maxItems": 2, "items": {"type": "object", "properties": {"d": {"type": "string", "default": "x"}}}}}}  # fmt: skip
    path = s.established(crd("defaults", "Defaulted", spec))
    base = {"apiVersion": "scenes.example.com/v1", "kind": "Defaulted"}
    found = []
    for number, body in enumerate(
        ({}, {"spec": {"nested": {}, "free": {"any": [1]}, "either": 1, "nothing": None, "list": [{}]}, "unknown": 1}, {"spec": {"either": 1.5}}, {"spec": {"nested": {"n": "x"}, "mode": None}}, {"spec": {"list": [{}, {}, {}]}})
    ):
        answer = s.call("POST", path, {**base, "metadata": {"name": f"d{number}"}, **body})
        found.append(answer.body.get("spec") if answer.code == 201 else [answer.outcome()[:2], answer.causes()])
    strict = s.call("POST", path, {**base, "metadata": {"name": "s"}, "spec": {"bogus": 1}}, fieldValidation="Strict")
    warned = s.call("POST", path, {**base, "metadata": {"name": "w"}, "spec": {"bogus": 1}}, fieldValidation="Warn")
    return [found, strict.outcome(), warned.code, warned.headers.get("warning")]


@scene
def rules_in_cel(s: Session) -> Any:
    spec = {"type": "object", "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable"}]},
        "tags": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 10}, "x-kubernetes-validations": [{"rule": "self.all(t, t.startsWith('t'))", "messageExpression": "'the first tag is ' + self[0]"}]},
        "kind": {"type": "string", "x-kubernetes-validations": [{"rule": "self in ['a', 'b']", "reason": "FieldValueForbidden", "message": "only a or b"}]}},
        "x-kubernetes-validations": [{"rule": "!has(self.min) || !has(self.max) || self.min <= self.max", "message": "min must not be above max", "fieldPath": ".min"},
                                     {"rule": "!has(self.min) || self.min > 0"}]}  # fmt: skip
    path = s.established(crd("rules", "Ruled", spec))
    base = {"apiVersion": "scenes.example.com/v1", "kind": "Ruled"}
    s.good("POST", path, {**base, "metadata": {"name": "r"}, "spec": {"min": 1, "max": 2, "name": "n", "tags": ["t1"], "kind": "a"}})
    found = []
    for body in ({"min": 3, "max": 2}, {"min": 0}, {"name": "other"}, {"tags": ["x"]}, {"kind": "c"}, {"min": -1, "max": -2, "kind": "z"}):
        answer = s.call("PATCH", f"{path}/r", {"spec": body}, MERGE)
        found.append([answer.outcome(), answer.causes()])
    return found


@scene
def definitions_that_are_refused(s: Session) -> Any:
    def refused(plural: str, spec: Json, **version: Any) -> Any:
        answer = s.call("POST", CRDS, crd(plural, plural.title(), spec, **version), dryRun="All")
        return [answer.outcome()[:2], [cause[:2] for cause in answer.causes()]]

    return {
        "no type": refused("ones", {"properties": {"a": {"type": "string"}}}),
        "rule that is no CEL": refused("twos", {"type": "object", "x-kubernetes-validations": [{"rule": "self.nothing > "}]}),
        "rule of another type": refused("threes", {"type": "object", "x-kubernetes-validations": [{"rule": "'yes'"}]}),
        "rule over an unknown field": refused("fours", {"type": "object", "x-kubernetes-validations": [{"rule": "self.x == 1"}]}),
        "default of another type": refused("fives", {"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
        "list keys that are not required": refused("sixes", {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
        "items that are no structure": refused("sevens", {"type": "array"}),
        "two storage versions": s.call("POST", CRDS, {**(two := crd("eights", "Eight", {"type": "object"})), "spec": {**two["spec"], "versions": [*two["spec"]["versions"], {**two["spec"]["versions"][0], "name": "v2"}]}}).outcome()[:2],
        "another name": s.call("POST", CRDS, {**crd("nines", "Nine", {"type": "object"}), "metadata": {"name": "other.example.com"}}).outcome()[:2],
    }


@scene
def tokens_of_accounts(s: Session) -> Any:
    made = s.good("POST", "serviceaccounts/default/token", {"spec": {"audiences": ["mine"], "expirationSeconds": 3600}})
    own = s.good("POST", "serviceaccounts/default/token", {"spec": {}})
    bound_to = s.good("POST", "pods", pod("p"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": bound_to["metadata"]["uid"]}
    bound = s.good("POST", "serviceaccounts/default/token", {"spec": {"boundObjectRef": reference}})

    def review(token: str, *audiences: str) -> Any:
        status = s.good("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token, "audiences": list(audiences)}})["status"]
        user = status.get("user") or {}
        return [status.get("authenticated", False), user.get("username"), user.get("groups"), sorted(user.get("extra") or {}), status.get("audiences")]

    before = review(bound["status"]["token"])
    said = claims(bound["status"]["token"])
    wrong = s.call("POST", "serviceaccounts/default/token", {"spec": {"boundObjectRef": {**reference, "uid": "other"}}})
    return [
        sorted(made["status"]), made["spec"]["expirationSeconds"], own["spec"]["audiences"], claims(made["status"]["token"])["aud"], sorted(claims(own["status"]["token"])), sorted(said["kubernetes.io"]), said["sub"],
        review(made["status"]["token"], "mine"), review(made["status"]["token"], "other")[0], review(own["status"]["token"]), before,
        wrong.outcome()[:2], s.call("POST", "serviceaccounts/nobody/token", {"spec": {}}).outcome(),
    ]  # fmt: skip


@scene
def tokens_that_a_mesh_asks_for(s: Session) -> Any:
    """A projected token for another audience than the server's, as a CA reviews it."""
    made = s.good("POST", "pods", pod("p"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
    spec = {"audiences": ["triomesh-ca"], "expirationSeconds": 43200, "boundObjectRef": reference}
    asked = s.good("POST", "serviceaccounts/default/token", {"spec": spec})
    token = asked["status"]["token"]

    def review(text: str, *audiences: str) -> Any:
        status = s.good("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": text, "audiences": list(audiences)}})["status"]
        return [status.get("authenticated", False), status.get("audiences"), bool(status.get("error"))], (status.get("user") or {}).get("extra", {})

    mine, extra = review(token, "istio-ca", "triomesh-ca")
    said = claims(token)
    return [
        said["aud"], said["exp"] - said["iat"], said["kubernetes.io"]["pod"]["name"], mine, extra["authentication.kubernetes.io/pod-name"],
        extra["authentication.kubernetes.io/pod-uid"] == [made["metadata"]["uid"]], review(token)[0], review(token, "istio-ca")[0], review(f"{token}x", "triomesh-ca")[0],
    ]  # fmt: skip


@scene
def what_accounts_may(s: Session) -> Any:
    token = s.good("POST", "serviceaccounts/default/token", {"spec": {}})["status"]["token"]
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"], "resourceNames": []}
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{s.namespace}"
    s.good("POST", f"{roles}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    s.good("POST", f"{roles}/rolebindings", {"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "default"}]})
    found = []
    for method, path in (("GET", "configmaps"), ("GET", "secrets"), ("DELETE", "configmaps/x"), ("GET", "/api/v1/nodes"), ("GET", "/version"), ("GET", "/metrics")):
        headers = {"Authorization": f"Bearer {token}", "Accept": JSON}
        answer = _anonymous(s).request(method, s.url(path), headers=headers, retries=False)
        message = answer.json().get("message", "") if answer.status >= 400 else ""
        found.append([path.replace(s.namespace, ""), answer.status, message])
    nobody = _anonymous(s).request("GET", s.url("configmaps"), headers={"Accept": JSON}, retries=False)
    forged = _anonymous(s).request("GET", s.url("configmaps"), headers={"Accept": JSON, "Authorization": f"Bearer {token}x"}, retries=False)
    return [found, nobody.status, nobody.json()["message"], forged.status, forged.json()["message"]]


def _anonymous(s: Session) -> Any:
    """A connection pool without the client certificate."""
    import urllib3

    return urllib3.PoolManager(ca_certs=s.api.configuration.ssl_ca_cert)


@scene
def events_in_both_groups(s: Session) -> Any:
    event = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": s.namespace}, "reason": "R", "message": "m", "type": "Warning", "source": {"component": "c"}, "count": 2}
    s.good("POST", "events", event)
    other = s.good("GET", f"{EVENTS}/{s.namespace}/events/e")
    selected = {text: len(s.good("GET", "events", fieldSelector=text)["items"]) for text in ("involvedObject.name=p", "involvedObject.kind=Node", "type=Warning", "reason=X")}
    newer = {"metadata": {"name": "n"}, "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "c.example.com/x", "reportingInstance": "i", "action": "Did", "reason": "R", "type": "Normal", "regarding": {"kind": "Pod", "name": "p", "namespace": s.namespace}, "note": "n"}
    made = s.call("POST", f"{EVENTS}/{s.namespace}/events", newer)
    core = s.good("GET", "events/n")
    bad = s.call("POST", "events", {"metadata": {"name": "x"}, "involvedObject": {"namespace": "elsewhere"}})
    return [{key: other.get(key) for key in ("kind", "apiVersion", "note", "regarding", "deprecatedCount", "deprecatedSource", "reason", "type")}, selected, made.outcome(),
            {key: core.get(key) for key in ("kind", "message", "involvedObject", "reportingComponent", "reportingInstance", "action")}, bad.outcome()[:2]]  # fmt: skip


@scene
def requests_that_make_no_sense(s: Session) -> Any:
    s.good("POST", "configmaps", config("c"))
    found = {
        "no JSON": s.call("POST", "configmaps", "{"),
        "no object": s.call("POST", "configmaps", "[]"),
        "no body": s.call("POST", "configmaps"),
        "other content": s.call("POST", "configmaps", "x", kind="text/plain"),
        "other patch": s.call("PATCH", "configmaps/c", "{}", kind="application/json"),
        "post to a name": s.call("POST", "configmaps/c", config("c")),
        "put to a collection": s.call("PUT", "configmaps", config("c")),
        "no such subresource": s.call("GET", "configmaps/c/status"),
        "json patch of nothing": s.call("PATCH", "configmaps/c", [{"op": "remove", "path": "/data/none"}], PATCH),
        "json patch that is none": s.call("PATCH", "configmaps/c", {"a": 1}, PATCH),
        "another kind": s.call("POST", "configmaps", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}),
        "another group": s.call("POST", "configmaps", {"apiVersion": "apps/v1", "kind": "ConfigMap", "metadata": {"name": "x"}}),
        "too large": s.call("POST", "configmaps", {"metadata": {"name": "big"}, "data": {"k": "x" * (1 << 20)}}),
        "immutable": s.call("PATCH", "configmaps/c", {"immutable": True}, MERGE),
        "changed though immutable": s.call("PATCH", "configmaps/c", {"data": {"k": "2"}}, MERGE),
    }
    return {name: [*answer.outcome()[:2], [cause[:2] for cause in answer.causes()] if isinstance(answer.body, dict) else []] for name, answer in found.items()}


@scene
def a_pod_of_64_kib(s: Session) -> Any:
    environment = [{"name": f"V{number}", "value": "x" * 1000} for number in range(64)]
    body = pod("large")
    body["spec"]["containers"][0]["env"] = environment
    body["metadata"]["annotations"] = {"note": "y" * 65536}
    made = s.call("POST", "pods", body)
    version = s.good("GET", "pods", resourceVersion="0", limit=1)["metadata"]["resourceVersion"]
    s.good("PATCH", "pods/large", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    event = s.watch("pods", 1, resourceVersion=version)[0]
    over = s.call("POST", "pods", {**body, "metadata": {"name": "over", "annotations": {"note": "y" * (256 * 1024 + 1)}}})
    return [made.code, len(made.body["spec"]["containers"][0]["env"]), event["type"] in ("ADDED", "MODIFIED"), len(event["object"]["metadata"]["annotations"]["note"]), over.outcome()[:2], [c[:2] for c in over.causes()]]
