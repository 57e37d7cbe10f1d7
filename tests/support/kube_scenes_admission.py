"""Scenes about admission webhooks, called over HTTPS by the server under test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from tests.support.apiserver_peers import json_patch
from tests.support.kube_scenes import MERGE, Json, Session, config, pod, scene

HOOKS = "/apis/admissionregistration.k8s.io/v1"


def entry(s: Session, name: str = "a", path: str = "/a", plural: str = "configmaps", operations: tuple[str, ...] = ("CREATE",), **more: Any) -> Json:
    """One webhook that concerns the scene's namespace alone."""
    return {
        "name": f"{name}.scenes.example.com", "clientConfig": {"url": f"https://127.0.0.1:{s.hook.port}{path}", "caBundle": s.hook.ca_bundle}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": s.namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": list(operations), "resources": [plural]}], **more,
    }  # fmt: skip


@contextlib.contextmanager
def registered(s: Session, kind: str, *entries: Json) -> Iterator[None]:
    """A configuration of webhooks while the block runs; it is waited for until the server calls them."""
    path = f"{HOOKS}/{kind.lower()}webhookconfigurations"
    # The server learns of a configuration by its own watch. This one, in the same object, says when that has happened.
    probe = entry(s, "probe", "/probe", "configmaps", objectSelector={"matchLabels": {"probe": "yes"}})
    s.good("POST", path, {"metadata": {"name": s.namespace}, "webhooks": [probe, *entries]})
    decide = s.hook.decide
    arrived = threading.Event()
    s.hook.decide = lambda request: (arrived.set(), {"allowed": True})[1]
    number = 0
    while not arrived.wait(0.05):
        number += 1
        assert number < 400, "the server does not call the webhook"
        s.call("POST", "configmaps", config("probe", labels={"probe": "yes"}), dryRun="All")
    s.hook.asked.clear()
    s.hook.decide = decide
    try:
        yield
    finally:
        s.good("DELETE", f"{path}/{s.namespace}")
        s.hook.asked.clear()


def add(path: str, value: Any) -> Json:
    return json_patch({"op": "add", "path": path, "value": value})


@scene
def what_a_webhook_is_asked(s: Session) -> Any:
    s.hook.decide = lambda request: {"allowed": True}
    with registered(s, "Mutating", entry(s, plural="pods", operations=("CREATE", "UPDATE", "DELETE"))):
        s.good("POST", "pods", pod("p", {"a": "b"}))
        s.good("PATCH", "pods/p", {"metadata": {"labels": {"a": "c"}}}, MERGE, fieldManager="me")
        s.call("POST", "pods", pod("dry"), dryRun="All")
        s.good("DELETE", "pods/p")
        asked = list(s.hook.asked)
    told = [_summary(request) for request in asked]
    # A real server may ask about one deletion several times, as it tries it several times.
    return [request for number, request in enumerate(told) if number == 0 or request != told[number - 1]]


def _summary(request: Json) -> Json:
    kept = {key: request.get(key) for key in ("kind", "resource", "subResource", "requestKind", "requestResource", "name", "namespace", "operation", "dryRun", "options")}
    kept["options"].pop("gracePeriodSeconds", None)  # what a real server computed meanwhile
    return {**kept, "object": _brief(request.get("object")), "oldObject": _brief(request.get("oldObject")), "user": request["userInfo"]["username"] != ""}


def _brief(obj: Json | None) -> Any:
    return obj and [obj.get("kind"), obj["metadata"].get("labels"), "uid" in obj["metadata"], obj["spec"].get("serviceAccountName")]


@scene
def mutation_is_defaulted_and_validated(s: Session) -> Any:
    with registered(s, "Mutating", entry(s, plural="pods")):
        s.hook.decide = lambda request: {**add("/spec/containers/-", {"name": "proxy", "image": "p:1", "ports": [{"containerPort": 1}]}), "warnings": ["injected"], "auditAnnotations": {"a": "b"}}
        good = s.call("POST", "pods", pod("p"))
        s.hook.decide = lambda request: add("/spec/containers/-", {"name": "a", "image": "twice"})
        twice = s.call("POST", "pods", pod("q"))
        s.hook.decide = lambda request: add("/metadata/namespace", "elsewhere")
        moved = s.call("POST", "pods", pod("r"))
        s.hook.decide = lambda request: json_patch({"op": "remove", "path": "/spec/none"})
        broken = s.call("POST", "pods", pod("t"))
        s.hook.decide = lambda request: {"allowed": True, "patch": "bm9uZQ=="}
        untyped = s.call("POST", "pods", pod("u"))
    proxy = good.body["spec"]["containers"][1]
    return [proxy["ports"], proxy["imagePullPolicy"], "serviceaccount" in proxy["volumeMounts"][0]["mountPath"], good.headers.get("warning"), twice.outcome()[:2], twice.causes(), moved.outcome()[:2],
            broken.outcome()[:2], untyped.outcome()[:2]]  # fmt: skip


@scene
def refusals(s: Session) -> Any:
    found = []
    with registered(s, "Validating", entry(s)):
        for answer in ({"allowed": False}, {"allowed": False, "status": {"message": "no"}}, {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": "wrong"}}, {"allowed": False, "status": {"code": 200, "message": "odd"}}):
            s.hook.decide = lambda request, answer=answer: answer  # type: ignore[misc]
            found.append(s.call("POST", "configmaps", config("c")).outcome())
    return found


@scene
def selectors_and_match_conditions(s: Session) -> Any:
    names: list[str] = []

    def note(request: Json) -> Json:
        names.append(request["name"])
        return {"allowed": True}

    conditions = [{"name": "not-skipped", "expression": "!object.metadata.name.startsWith('skip')"}, {"name": "admin", "expression": "request.userInfo.username != 'nobody'"}]
    with registered(s, "Mutating", entry(s, objectSelector={"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, matchConditions=conditions)):
        s.hook.decide = note
        for name, labels in (("one", {"a": "1"}), ("two", {"a": "3"}), ("three", {}), ("skip-me", {"a": "2"}), ("four", {"a": "2"})):
            s.good("POST", "configmaps", config(name, labels=labels))
    with registered(s, "Mutating", entry(s, matchConditions=[{"name": "broken", "expression": "object.data.none == 'x'"}], failurePolicy="Fail")):
        broken = s.call("POST", "configmaps", config("broken"))
    with registered(s, "Mutating", entry(s, matchConditions=[{"name": "broken", "expression": "object.data.none == 'x'"}], failurePolicy="Ignore")):
        ignored = s.call("POST", "configmaps", config("ignored"))
    bad = s.call("POST", f"{HOOKS}/mutatingwebhookconfigurations", {"metadata": {"name": "bad"}, "webhooks": [entry(s, matchConditions=[{"name": "x", "expression": "object.metadata. =="}])]})
    return [names, broken.outcome()[:2], ignored.code, bad.outcome()[:2], [cause[:2] for cause in bad.causes()]]


@scene
def failure_policies(s: Session) -> Any:
    dead = {"url": "https://127.0.0.1:1/x", "caBundle": s.hook.ca_bundle}
    with registered(s, "Mutating", entry(s, clientConfig=dead, failurePolicy="Fail", objectSelector={"matchLabels": {"on": "yes"}})):
        failed = s.call("POST", "configmaps", config("f", labels={"on": "yes"}))
    with registered(s, "Mutating", entry(s, clientConfig=dead, failurePolicy="Ignore")):
        ignored = s.call("POST", "configmaps", config("i"))
    release = threading.Event()
    with registered(s, "Mutating", entry(s, timeoutSeconds=1)):
        s.hook.decide = lambda request: (release.wait(10), {"allowed": True})[1]
        slow = s.call("POST", "configmaps", config("s"))
        release.set()
    return [failed.outcome()[:2], "a.scenes.example.com" in failed.body["message"], ignored.code, slow.outcome()[:2], "deadline" in slow.body["message"]]


@scene
def reinvocation(s: Session) -> Any:
    calls: list[str] = []

    def decide(request: Json) -> Json:
        labels = request["object"]["metadata"].get("labels") or {}
        # The first hook adds what the second has not seen; the second changes the object, so that the first may want another look.
        who = "second" if "first" in labels and "second" not in labels and calls[-1:] == ["first"] else "first"
        calls.append(who)
        return add("/metadata/labels", {**labels, who: "x"}) if who not in labels else {"allowed": True}

    found = {}
    for policy in ("Never", "IfNeeded"):
        calls.clear()
        with registered(s, "Mutating", entry(s, "a", "/a", reinvocationPolicy=policy), entry(s, "b", "/b", reinvocationPolicy=policy)):
            s.hook.decide = decide
            made = s.good("POST", "configmaps", config(policy.lower()))
        found[policy] = [list(calls), made["metadata"].get("labels")]
    return found


@scene
def dry_runs_and_side_effects(s: Session) -> Any:
    found = {}
    for effects in ("None", "NoneOnDryRun"):
        with registered(s, "Mutating", entry(s, sideEffects=effects)):
            s.hook.decide = lambda request: {"allowed": True}
            answer = s.call("POST", "configmaps", config("d"), dryRun="All")
            found[effects] = [answer.code, [request.get("dryRun") for request in s.hook.asked]]
    for effects in ("Some", "Unknown", "Odd"):
        bad = s.call("POST", f"{HOOKS}/mutatingwebhookconfigurations", {"metadata": {"name": "bad"}, "webhooks": [entry(s, sideEffects=effects)]})
        found[effects] = [bad.outcome()[:2], [cause[:2] for cause in bad.causes()]]
    return found


@scene
def webhook_defaults_and_mistakes(s: Session) -> Any:
    path = f"{HOOKS}/mutatingwebhookconfigurations"
    made = s.good("POST", path, {"metadata": {"name": "d"}, "webhooks": [{k: v for k, v in entry(s).items() if k != "namespaceSelector"}]}, dryRun="All")
    found: Json = {"defaults": {k: v for k, v in made["webhooks"][0].items() if k != "clientConfig"}}
    for name, more in {
        "timeout": {"timeoutSeconds": 31}, "policy": {"failurePolicy": "Maybe"}, "versions": {"admissionReviewVersions": []}, "operation": {"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["PATCH"], "resources": ["pods"]}]},
        "http": {"clientConfig": {"url": "http://127.0.0.1/x"}}, "both": {"clientConfig": {"url": "https://a.b/x", "service": {"name": "a", "namespace": "b"}}}, "bundle": {"clientConfig": {"url": "https://a.b/x", "caBundle": "bm9uZQ=="}},
        "selector": {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
    }.items():  # fmt: skip
        answer = s.call("POST", path, {"metadata": {"name": "bad"}, "webhooks": [entry(s, **more)]}, dryRun="All")
        found[name] = [answer.outcome()[:2], [cause[:2] for cause in answer.causes()]]
    return found


@scene
def answers_that_are_none(s: Session) -> Any:
    with registered(s, "Validating", entry(s)):
        s.hook.decide = lambda request: {"allowed": True, "uid": "other"}
        other = s.call("POST", "configmaps", config("o"))
        s.hook.decide = lambda request: {"allowed": True, **add("/data/x", "y")}
        patching = s.call("POST", "configmaps", config("p"))
    return [other.outcome()[:2], patching.code, patching.body.get("data")]
