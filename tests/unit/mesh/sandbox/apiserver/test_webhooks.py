from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from mesh.sandbox.apiserver import expressions, webhooks
from mesh.sandbox.apiserver.authn import User
from mesh.sandbox.apiserver.cluster import Call
from mesh.sandbox.apiserver.http import Request
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.paths import Target
from mesh.sandbox.apiserver.status import ApiError
from mesh.sandbox.apiserver.webhooks import Hook, HookError, Operation

PODS = next(r for r in builtin() if r.key == "pods")
NODES = next(r for r in builtin() if r.key == "nodes")


def call(subresource: str = "") -> Call:
    return Call(Request("POST", "/", "/", {}, {}, [], b""), User("jane", ("dev",)), Target("", "v1", "pods", "ns", "p", subresource), "create", PODS)


def rule(**more: Any) -> dict[str, Any]:
    return {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], **more}


@pytest.mark.parametrize(
    ("given", "subresource", "matches"),
    [
        (rule(), "", True), (rule(operations=["*"]), "", True), (rule(operations=["DELETE"]), "", False), (rule(apiGroups=["apps"]), "", False), (rule(resources=["*"]), "", True),
        (rule(resources=["*"]), "status", False), (rule(resources=["pods/*"]), "status", True), (rule(resources=["*/*"]), "", True), (rule(resources=["pods/*"]), "", False), (rule(scope="Cluster"), "", False),
    ],
)  # fmt: skip
def test_rules(given: dict[str, Any], subresource: str, matches: bool) -> None:
    assert webhooks.rule_matches(given, PODS, subresource, Operation.CREATE) is matches


def test_cluster_scope() -> None:
    assert webhooks.rule_matches(rule(resources=["nodes"], scope="Cluster"), NODES, "", Operation.CREATE)


def configuration(name: str, **hook: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "webhooks": [{"name": f"{name}.x.y", "clientConfig": {"url": "https://h"}, "rules": [rule()], **hook}]}


def test_selection_by_selectors_and_order() -> None:
    configurations = [configuration("b"), configuration("a", namespaceSelector={"matchLabels": {"on": "1"}}), configuration("c", objectSelector={"matchLabels": {"app": "x"}})]

    def names(namespace: dict[str, str] | None, labels: dict[str, str]) -> list[str]:
        obj = {"metadata": {"labels": labels}}
        return [h.configuration for h in webhooks.select(configurations, call(), Operation.CREATE, obj, None, namespace)]

    assert names({}, {}) == ["b"] and names({"on": "1"}, {"app": "x"}) == ["a", "b", "c"]
    assert names(None, {}) == ["a", "b"]


HOOK = Hook("c", "h.x.y", {}, 10, False, "None", False, (), PODS)


def answer(**response: Any) -> webhooks.Answer:
    sent = {"request": {"uid": "u"}}
    return webhooks.read_answer({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "u", **response}}, sent, HOOK)


def encoded(patch: Any) -> str:
    return base64.b64encode(json.dumps(patch).encode()).decode()


def test_answers() -> None:
    made = answer(allowed=True, patchType="JSONPatch", patch=encoded([{"op": "add", "path": "/x", "value": 1}]), warnings=["w"])
    assert made.allowed and made.warnings == ("w",)
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    assert webhooks.apply_patch(obj, made, HOOK)["x"] == 1


@pytest.mark.parametrize("response", [{"uid": "other"}, {"patch": "e30=", "patchType": "Merge"}, {"patch": "***", "patchType": "JSONPatch"}, {"patch": encoded({}), "patchType": "JSONPatch"}])
def test_answers_that_make_no_sense(response: dict[str, Any]) -> None:
    with pytest.raises(HookError):
        answer(allowed=True, **response)


@pytest.mark.parametrize("body", [None, [], {}, {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"}, {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}])
def test_bodies_that_are_no_answer(body: Any) -> None:
    with pytest.raises(HookError):
        webhooks.read_answer(body, {"request": {"uid": "u"}}, HOOK)


def test_patch_must_not_touch_identity() -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "1"}}
    for operation in ({"op": "replace", "path": "/kind", "value": "X"}, {"op": "remove", "path": "/metadata/uid"}, {"op": "remove", "path": "/metadata"}, {"op": "remove", "path": "/nope"}):
        with pytest.raises(HookError):
            webhooks.apply_patch(obj, answer(allowed=True, patchType="JSONPatch", patch=encoded([operation])), HOOK)


def test_refusals() -> None:
    cases = {(): (400, 'admission webhook "h.x.y" denied the request without explanation'), ("message", "no"): (400, 'admission webhook "h.x.y" denied the request: no')}
    for said, (code, message) in cases.items():
        error = webhooks.refusal(HOOK, answer(allowed=False, status=dict([said]) if said else {}))
        assert (error.code, error.message) == (code, message)
    assert webhooks.refusal(HOOK, answer(allowed=False, status={"code": 422})).code == 422 and webhooks.refusal(HOOK, answer(allowed=False, status={"code": 200})).code == 400


def test_review_tells_everything() -> None:
    made = webhooks.review(call("status"), HOOK, Operation.UPDATE, {"metadata": {"name": "p"}}, {"metadata": {"name": "p"}})["request"]
    assert (made["operation"], made["namespace"], made["name"], made["subResource"], made["userInfo"]["username"], made["options"]["kind"]) == ("UPDATE", "ns", "p", "status", "jane", "UpdateOptions")


def test_a_rule_about_another_version_covers_it_too() -> None:
    gadget = [replace(PODS, group="x.example.com", version=version, plural="gadgets", kind="Gadget", custom=True, storage_key="gadgets.x.example.com", storage_version="v1") for version in ("v1", "v1beta1")]
    asked = Call(Request("POST", "/", "/", {}, {}, [], b""), User("jane", ()), Target("x.example.com", "v1beta1", "gadgets", "ns", "g", ""), "create", gadget[1])
    obj = {"apiVersion": "x.example.com/v1beta1", "kind": "Gadget", "metadata": {"name": "g"}}
    about = rule(apiGroups=["x.example.com"], resources=["gadgets"])

    def chosen(policy: str) -> list[Hook]:
        return webhooks.select([configuration("c", rules=[about], matchPolicy=policy)], asked, Operation.CREATE, obj, None, None, gadget)

    assert chosen("Exact") == []
    (hook,) = chosen("Equivalent")
    request = webhooks.review(asked, hook, Operation.CREATE, obj, None)["request"]
    assert (request["kind"]["version"], request["requestKind"]["version"], request["resource"]["version"]) == ("v1", "v1beta1", "v1")
    assert request["object"]["apiVersion"] == "x.example.com/v1" and obj["apiVersion"] == "x.example.com/v1beta1"


def test_match_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(ignores: bool, *results: Any) -> Hook:
        made = tuple({"name": str(i), "expression": str(i)} for i in range(len(results)))
        monkeypatch.setattr(expressions, "evaluate", lambda text, variables: results[int(text)]())
        return Hook("c", "h.x.y", {}, 10, ignores, "None", False, made, PODS)

    def fails() -> bool:
        raise expressions.Failed("broken")

    def unmet(made: Hook) -> bool:
        return webhooks.unmet_condition(made, call(), Operation.CREATE, None, None)

    assert not unmet(HOOK) and not unmet(hook(False, lambda: True)) and unmet(hook(False, lambda: True, lambda: False))
    assert unmet(hook(False, fails, lambda: False)) and unmet(hook(True, fails))
    with pytest.raises(ApiError, match="broken"):
        unmet(hook(False, fails, lambda: True))
