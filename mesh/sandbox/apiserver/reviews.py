"""Reviews: questions about identity and permission, answered and not stored."""

from __future__ import annotations

from typing import Any

from mesh.sandbox.apiserver import status, writes
from mesh.sandbox.apiserver.authn import AUDIENCES, User
from mesh.sandbox.apiserver.cluster import Call, Cluster
from mesh.sandbox.apiserver.http import Response
from mesh.sandbox.apiserver.rbac import Attributes
from mesh.sandbox.apiserver.status import Cause
from mesh.sandbox.apiserver.storage import dump
from mesh.sandbox.apiserver.tokens import BadToken, NoToken

Obj = dict[str, Any]


async def create(cluster: Cluster, call: Call) -> Response:
    """POST of any review."""
    obj = writes.read_object(call)
    spec = obj.get("spec") or {}
    match call.resource.kind:
        case "TokenReview":
            if not spec.get("token"):
                raise status.bad_request("token is required for TokenReview in authentication")
            obj["status"] = _token(cluster, spec)
        case "SelfSubjectReview":
            obj["status"] = {"userInfo": call.user.info()}
        case "SelfSubjectAccessReview":
            obj["status"] = _access(cluster, call.user, spec, obj)
        case "SelfSubjectRulesReview":
            obj["status"] = _rules(cluster, call.user, spec, obj)
        case "SubjectAccessReview" | "LocalSubjectAccessReview":
            if not spec.get("user") and not spec.get("groups"):
                raise _invalid(obj, "spec.user", "Required value: at least one of user or group must be specified")
            if call.target.namespace and (spec.get("resourceAttributes") or {}).get("namespace") != call.target.namespace:
                raise _invalid(obj, "spec.resourceAttributes.namespace", f"Invalid value: must match metadata.namespace {call.target.namespace}")
            user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), spec.get("extra") or {})
            obj["status"] = _access(cluster, user, spec, obj)
    return Response(201, dump(obj))


def _invalid(obj: Obj, field: str, message: str) -> status.ApiError:
    return status.invalid("authorization.k8s.io", obj["kind"], "", [Cause("FieldValueInvalid", field, message)])


def _token(cluster: Cluster, spec: Obj) -> Obj:
    audiences = tuple(spec.get("audiences") or AUDIENCES)
    try:
        user, fitting = cluster.authenticator.token_user(spec.get("token", ""), audiences, int(cluster.clock().timestamp()))
    except NoToken:
        return {"user": {}, "error": "invalid bearer token"}
    except BadToken as exc:
        return {"user": {}, "error": f"[invalid bearer token, {exc}]"}
    return {"authenticated": True, "user": user.info(), "audiences": list(fitting)}


def _access(cluster: Cluster, user: User, spec: Obj, obj: Obj) -> Obj:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) is (path is None):
        raise _invalid(obj, "spec.resourceAttributes", "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified")
    if path is not None:
        attributes = Attributes(path.get("verb", ""), path=path.get("path", ""))
    else:
        assert resource is not None
        attributes = Attributes(resource.get("verb", ""), resource.get("group", ""), resource.get("resource", ""), resource.get("subresource", ""),
                                resource.get("namespace", ""), resource.get("name", ""))  # fmt: skip
    return {"allowed": cluster.authorizer.allows(user, attributes)}


def _rules(cluster: Cluster, user: User, spec: Obj, obj: Obj) -> Obj:
    namespace = spec.get("namespace")
    if not namespace:
        raise _invalid(obj, "spec.namespace", "Required value")
    found = [rule for scope, rule in cluster.authorizer.rules(user) if scope in ("", namespace)]
    if "system:masters" in user.groups:
        found += [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
    resources = [{k: rule[k] for k in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(k)} for rule in found if rule.get("resources")]
    paths = [{k: rule[k] for k in ("verbs", "nonResourceURLs") if rule.get(k)} for rule in found if rule.get("nonResourceURLs")]
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
