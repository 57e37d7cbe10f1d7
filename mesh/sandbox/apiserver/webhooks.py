"""Admission webhooks: which are to be asked, with what, and what their answer means. Pure.

Source: "Dynamic Admission Control"; admissionregistration.k8s.io/v1, admission.k8s.io/v1.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from mesh.sandbox.apiserver import convert, expressions, status
from mesh.sandbox.apiserver.jsonpatch import PatchError, apply_json_patch
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.selectors import match_selector

if TYPE_CHECKING:
    from mesh.sandbox.apiserver.cluster import Call

Obj = dict[str, Any]

IMMUTABLE_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


class Operation(Enum):
    """What is being done, as rules name it."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


class HookError(Exception):
    """A webhook could not be called, or its answer makes no sense."""


class Moved(HookError):
    """A webhook's patch makes another object of it."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of one configuration."""

    configuration: str
    name: str
    client: Mapping[str, Any]
    timeout_seconds: float
    ignores_failure: bool
    side_effects: str
    reinvoke: bool
    conditions: tuple[Mapping[str, str], ...]
    resource: Resource
    """The version of the kind that it asked for, which need not be the one of the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A webhook's answer, read."""

    allowed: bool
    patch: tuple[Any, ...] = ()
    warnings: tuple[str, ...] = ()
    code: int = 0
    reason: str = ""
    message: str = ""


def select(
    configurations: Iterable[Obj], call: Call, operation: Operation, new: Obj | None, old: Obj | None, namespace_labels: Mapping[str, str] | None, versions: Iterable[Resource] = ()
) -> list[Hook]:
    """The hooks that apply, ordered by configuration name and position.

    versions: all of the kind: a rule about one of them (`matchPolicy: Equivalent`) covers a request in another.
    namespace_labels: None for cluster-wide objects other than Namespaces, which every namespaceSelector matches.
    """
    found = []
    for configuration in sorted(configurations, key=lambda c: str(c["metadata"]["name"])):
        for hook in configuration.get("webhooks") or ():
            resource = _asked_for(hook, (call.resource,) if hook.get("matchPolicy") == "Exact" else (call.resource, *versions), call.target.subresource, operation)
            if resource is None:
                continue
            if namespace_labels is not None and not match_selector(hook.get("namespaceSelector") or {}, namespace_labels):
                continue
            if not _object_matches(hook.get("objectSelector") or {}, new, old):
                continue
            found.append(Hook(
                configuration["metadata"]["name"], hook["name"], hook["clientConfig"], float(hook.get("timeoutSeconds", 10)), hook.get("failurePolicy") == "Ignore",
                hook.get("sideEffects", ""), hook.get("reinvocationPolicy") == "IfNeeded", tuple(hook.get("matchConditions") or ()), resource))  # fmt: skip
    return found


def _object_matches(selector: Mapping[str, Any], new: Obj | None, old: Obj | None) -> bool:
    if not selector:
        return True
    return any(match_selector(selector, obj["metadata"].get("labels") or {}) for obj in (new, old) if obj is not None)


def _asked_for(hook: Mapping[str, Any], versions: Iterable[Resource], subresource: str, operation: Operation) -> Resource | None:
    return next((version for version in versions if any(rule_matches(rule, version, subresource, operation) for rule in hook.get("rules") or ())), None)


def rule_matches(rule: Mapping[str, Any], resource: Resource, subresource: str, operation: Operation) -> bool:
    """Whether a RuleWithOperations covers the request."""
    if not {"*", operation.value} & set(rule.get("operations") or ()):
        return False
    if not {"*", resource.group} & set(rule.get("apiGroups") or ()) or not {"*", resource.version} & set(rule.get("apiVersions") or ()):
        return False
    if rule.get("scope", "*") not in ("*", "Namespaced" if resource.namespaced else "Cluster"):
        return False
    wanted = {f"{resource.plural}/{subresource}", f"{resource.plural}/*", f"*/{subresource}", "*/*"} if subresource else {resource.plural, "*", "*/*"}
    return bool(wanted & set(rule.get("resources") or ()))


def review(call: Call, hook: Hook, operation: Operation, new: Obj | None, old: Obj | None) -> Obj:
    """The AdmissionReview to send."""
    (kind, where), (request_kind, request_where) = (_named(resource) for resource in (hook.resource, call.resource))
    new, old = (None if obj is None else convert.between(obj, call.resource, hook.resource) for obj in (new, old))
    options = {Operation.CREATE: "CreateOptions", Operation.UPDATE: "UpdateOptions", Operation.DELETE: "DeleteOptions"}.get(operation, "")
    sent = {key: call.request.arg(key) for key in ("fieldManager", "fieldValidation") if call.request.arg(key)}
    request: Obj = {
        "uid": str(uuid.uuid4()), "kind": kind, "resource": where, "requestKind": request_kind, "requestResource": request_where, "operation": operation.value,
        "userInfo": call.user.info(), "object": _unborn(new, call) if operation is Operation.CREATE else new, "oldObject": old, "dryRun": call.dry_run,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": options, **sent, **({"dryRun": ["All"]} if call.dry_run else {})} if options else None,
    }  # fmt: skip
    if call.target.subresource:
        request["subResource"] = request["requestSubResource"] = call.target.subresource
    name = (new or old or {}).get("metadata", {}).get("name") or call.target.name
    if name and not (operation is Operation.CREATE and call.is_name_generated):
        request["name"] = name
    if call.target.namespace:
        request["namespace"] = call.target.namespace
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def _named(resource: Resource) -> tuple[Obj, Obj]:
    version = {"group": resource.group, "version": resource.version}
    return {**version, "kind": resource.kind}, {**version, "resource": resource.plural}


def _unborn(new: Obj | None, call: Call) -> Obj | None:
    """The object as it is shown to webhooks before it exists: what the server gives at its birth is not there yet."""
    if new is None:
        return None
    hidden = {"uid", "creationTimestamp", *(["name"] if call.is_name_generated else [])}
    return {**new, "metadata": {key: value for key, value in new["metadata"].items() if key not in hidden}}


def read_answer(body: Any, sent: Obj, hook: Hook) -> Answer:
    """Raises: HookError: not an answer to `sent`."""
    if not isinstance(body, dict) or body.get("kind") != "AdmissionReview" or body.get("apiVersion") != "admission.k8s.io/v1":
        found = f"{body.get('apiVersion')}, Kind={body.get('kind')}" if isinstance(body, dict) else type(body).__name__
        raise HookError(f"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {found}")
    response = body.get("response")
    if not isinstance(response, dict):
        raise HookError("webhook response is absent")
    if response.get("uid") != sent["request"]["uid"]:
        raise HookError(f"expected response.uid={sent['request']['uid']!r}, got {response.get('uid')!r}")
    patch: Any = ()
    if response.get("patch") is not None:
        if response.get("patchType") != "JSONPatch":
            raise HookError(f"unsupported response.patchType {response.get('patchType')!r}: only JSONPatch")
        try:
            patch = json.loads(base64.b64decode(response["patch"], validate=True))
        except (binascii.Error, ValueError, TypeError) as exc:
            raise HookError(f"response.patch is not base64 of JSON: {exc}") from exc
        if not isinstance(patch, list):
            raise HookError("response.patch is not a list of operations")
    said = response.get("status") or {}
    warnings = response.get("warnings") or ()
    return Answer(bool(response.get("allowed")), tuple(patch), tuple(map(str, warnings)), int(said.get("code") or 0), str(said.get("reason") or ""), str(said.get("message") or ""))


def refusal(hook: Hook, answer: Answer) -> status.ApiError:
    """The error for a request that a webhook denied."""
    said = f": {answer.message}" if answer.message else f" without explanation{f' ({answer.reason})' if answer.reason else ''}"
    text = f'admission webhook "{hook.name}" denied the request{said}'
    return status.ApiError(answer.code if 400 <= answer.code < 600 else 400, answer.reason, text)


def apply_patch(obj: Obj, answer: Answer, hook: Hook) -> Obj:
    """The patched object. Raises: HookError: the patch does not apply, or touches what nobody may change."""
    try:
        patched = apply_json_patch(obj, list(answer.patch))
    except PatchError as exc:
        raise HookError(f"its patch does not apply: {exc}") from exc
    if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
        raise HookError("its patch leaves no object")
    for name in ("apiVersion", "kind"):
        if patched.get(name) != obj[name]:
            raise HookError(f"its patch changes {name}")
    for name in IMMUTABLE_META:
        if patched["metadata"].get(name) != obj["metadata"].get(name):
            raise Moved(f"its patch changes metadata.{name}")
    return patched


def unmet_condition(hook: Hook, call: Call, operation: Operation, new: Obj | None, old: Obj | None) -> bool:
    """Whether a matchCondition is false, so that the hook is not to be asked.

    An error counts only if no condition is false. Raises: ApiError 403: an error, and the hook's failures are not ignored.
    """
    if not hook.conditions:
        return False
    shown, before = (None if obj is None else convert.between(obj, call.resource, hook.resource) for obj in (new, old))
    variables = {"object": shown, "oldObject": before, "request": review(call, hook, operation, None, None)["request"]}
    problem = ""
    for condition in hook.conditions:
        try:
            if expressions.evaluate(condition["expression"], variables) is not True:
                return True
        except (expressions.Unsupported, expressions.Failed) as exc:
            problem = f'webhook "{hook.name}": matchCondition "{condition.get("name")}": {exc}'
    if problem and hook.ignores_failure:
        call.warnings.append(f"{problem}; skipped (failurePolicy Ignore)")
        return True
    if problem:
        name = (new or old or {}).get("metadata", {}).get("name", "")
        what = status.qualified(call.resource.group, call.resource.plural)
        raise status.forbidden(f'{what} "{name}" is forbidden: {problem}', call.resource.group, call.resource.plural, name)
    return False
