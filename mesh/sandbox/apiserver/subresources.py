"""Subresources that are a small API of their own: scale, binding, eviction, token, finalize."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mesh.sandbox.apiserver import decode, deletion, managed, objects, patches, reads, status, writes
from mesh.sandbox.apiserver.cluster import Call, Cluster
from mesh.sandbox.apiserver.convert import from_storage
from mesh.sandbox.apiserver.http import Response
from mesh.sandbox.apiserver.jsonpatch import PatchError, apply_json_patch, apply_merge_patch
from mesh.sandbox.apiserver.registry import Resource, Scale, dig
from mesh.sandbox.apiserver.selectors import format_selector, match_selector
from mesh.sandbox.apiserver.status import Cause
from mesh.sandbox.apiserver.storage import Key, dump
from mesh.sandbox.apiserver.tokens import DEFAULT_SECONDS, ISSUER, MAX_SECONDS, MIN_SECONDS, Bound, Claims

Obj = dict[str, Any]
Handler = Callable[[Cluster, Call], Awaitable[Response]]


def scale_of(obj: Obj, scale: Scale) -> Obj:
    """The `autoscaling/v1 Scale` of an object."""
    meta = {k: obj["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in obj["metadata"]}
    selector = dig(obj, scale.label_selector) if scale.label_selector else None
    if selector is None and isinstance(dig(obj, ".spec.selector"), dict) and not scale.label_selector:
        shown = format_selector(obj["spec"]["selector"])
        selector = "" if shown == "<none>" else shown
    state: Obj = {"replicas": dig(obj, scale.status_replicas) or 0, **({"selector": selector} if selector else {})}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": {"replicas": dig(obj, scale.spec_replicas) or 0}, "status": state}


async def scale(cluster: Cluster, call: Call) -> Response:
    """GET, PUT, PATCH of `/scale`."""
    where = call.resource.scale
    if where is None:
        raise status.no_such_resource()
    if call.verb == "get":
        stored = cluster.store.get(call.key)
        if stored is None:
            raise call.not_found()
        return Response(200, dump(scale_of(from_storage(stored.obj, call.resource), where)))
    if call.verb not in ("update", "patch"):
        raise status.method_not_allowed(call.verb)
    kind = decode.media_type(call.request.headers.get("content-type", ""))
    body = decode.decode_json(call.request.body) if call.verb == "patch" else decode.decode(call.request.body, kind, "autoscaling.v1.Scale")

    def decide(old: Obj) -> Obj:
        present = scale_of(old, where)
        try:
            wanted = apply_json_patch(present, body.value) if kind == patches.JSON else apply_merge_patch(present, body.value) if call.verb == "patch" else body.value
        except PatchError as exc:
            raise status.bad_patch(exc) from exc
        replicas = dig(wanted, ".spec.replicas") or 0
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            cause = Cause("FieldValueInvalid", "spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")
            raise status.invalid("autoscaling", "Scale", call.target.name, [cause])
        new = copy.deepcopy(old)
        holder = new
        *parents, last = where.spec_replicas.strip(".").split(".")
        for part in parents:
            holder = holder.setdefault(part, {})
        holder[last] = replicas
        asked = dig(wanted, ".metadata.resourceVersion") if call.verb == "update" or _names_revision(body.value) else None
        if asked:
            new["metadata"]["resourceVersion"] = asked
        else:
            new["metadata"].pop("resourceVersion")
        return new

    # To everything behind this point it is an ordinary update of the object.
    plain = replace(call, target=replace(call.target, subresource=""))
    stored = await writes.modify(cluster, plain, decide, _track_scale)
    return Response(200, dump(scale_of(from_storage(stored.obj, call.resource), where)))


def _track_scale(new: Obj, old: Obj, resource: Resource, subresource: str, manager: str, now: datetime) -> None:
    """The replicas belong to whoever came through this door, as `subresource: scale`."""
    managed.on_update(new, old, resource, "scale", manager, now)


def _names_revision(patch: Any) -> bool:
    return isinstance(patch, dict) and bool((patch.get("metadata") or {}).get("resourceVersion"))


async def binding(cluster: Cluster, call: Call) -> Response:
    """POST of `/binding`: the scheduler's word. Source: registry/core/pod BindingREST."""
    _only(call, "create")
    body = _body(call, "core.v1.Binding")
    target = body.get("target") or {}
    if (body.get("metadata") or {}).get("name", call.target.name) != call.target.name:
        raise status.bad_request("name in URL does not match name in Binding object")
    if not target.get("name") or target.get("kind", "Node") != "Node":
        raise status.invalid("", "Binding", call.target.name, [Cause("FieldValueRequired", "target.name", "Required value: a node's name")])

    def decide(old: Obj) -> Obj:
        if old["metadata"].get("deletionTimestamp"):
            raise status.conflict("", "pods/binding", call.target.name, f"pod {call.target.name} is being deleted, cannot be assigned to a host")
        if old["spec"].get("nodeName"):
            raise status.conflict("", "pods/binding", call.target.name, f'pod {call.target.name} is already assigned to node "{old["spec"]["nodeName"]}"')
        new = copy.deepcopy(old)
        new["metadata"].pop("resourceVersion")
        new["spec"]["nodeName"] = target["name"]
        return new

    plain = replace(call, target=replace(call.target, subresource=""))
    plain_call_time = objects.timestamp(cluster.clock())
    await writes.modify(cluster, plain, decide)
    return await _scheduled(cluster, call, plain_call_time)


async def _scheduled(cluster: Cluster, call: Call, when: str) -> Response:
    def decide(old: Obj) -> Obj:
        new = copy.deepcopy(old)
        new["metadata"].pop("resourceVersion")
        conditions = new.setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [c for c in conditions if c["type"] != "PodScheduled"]
        conditions.append({"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": when})
        return new

    await writes.modify(cluster, replace(call, target=replace(call.target, subresource="status")), decide)
    return _success(201)


async def eviction(cluster: Cluster, call: Call) -> Response:
    """POST of `/eviction`: a deletion that PodDisruptionBudgets may forbid."""
    _only(call, "create")
    body = _body(call, "policy.v1.Eviction")
    stored = cluster.store.get(call.key)
    if stored is None:
        raise call.not_found()
    labels = stored.obj["metadata"].get("labels") or {}
    budgets = [s.obj for _, s in cluster.store.items("poddisruptionbudgets.policy", call.target.namespace) if match_selector(s.obj["spec"].get("selector"), labels)]
    if len(budgets) > 1:
        raise status.internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
    for budget in budgets if stored.obj.get("status", {}).get("phase") not in ("Succeeded", "Failed") else ():
        state, name = budget.get("status") or {}, budget["metadata"]["name"]
        if state.get("disruptionsAllowed", 0) < 1:
            said = f"The disruption budget {name} needs {state.get('desiredHealthy', 0)} healthy pods and has {state.get('currentHealthy', 0)} currently"
            raise status.too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10, (Cause("DisruptionBudget", "", said),))
    given = body.get("deleteOptions") or {}
    grace = given.get("gracePeriodSeconds")
    options = deletion.Options(None if grace is None else int(grace), given.get("propagationPolicy") or "", (given.get("preconditions") or {}).get("uid") or "")
    await writes.delete_object(cluster, replace(call, target=replace(call.target, subresource="")), call.key, options)
    return _success(201)


async def token(cluster: Cluster, call: Call) -> Response:
    """POST of `serviceaccounts/{name}/token`: a TokenRequest."""
    _only(call, "create")
    body = _body(call, "authentication.v1.TokenRequest")
    account = cluster.store.get(call.key)
    if account is None:
        raise call.not_found()
    spec = body.get("spec") or {}
    audiences = tuple(spec.get("audiences") or (ISSUER,))
    seconds = spec.get("expirationSeconds", DEFAULT_SECONDS)
    if not isinstance(seconds, int) or not MIN_SECONDS <= seconds <= MAX_SECONDS:
        rule = "larger than 2^32 seconds" if isinstance(seconds, int) and seconds > MAX_SECONDS else "less than 10 minutes"
        cause = Cause("FieldValueInvalid", "spec.expirationSeconds", f"Invalid value: {seconds}: may not specify a duration {rule}")
        raise status.invalid("authentication.k8s.io", "TokenRequest", "", [cause])
    bound, node = _bound(cluster, call, spec.get("boundObjectRef"))
    now = int(cluster.clock().timestamp())
    claims = Claims(call.target.namespace, call.target.name, account.obj["metadata"]["uid"], audiences, "", bound, node)
    made, expires = cluster.signer.sign(claims, now, seconds)
    when = objects.timestamp(datetime.fromtimestamp(expires, UTC))
    meta = {"name": call.target.name, "namespace": call.target.namespace, "creationTimestamp": objects.timestamp(cluster.clock())}
    full = {**spec, "audiences": list(audiences), "expirationSeconds": seconds}
    return Response(201, dump({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": meta, "spec": full, "status": {"token": made, "expirationTimestamp": when}}))


def _bound(cluster: Cluster, call: Call, reference: Obj | None) -> tuple[Bound | None, Bound | None]:
    if not reference:
        return None, None
    kind, name = reference.get("kind"), reference.get("name", "")
    resource = {"Pod": "pods", "Secret": "secrets"}.get(str(kind))
    if resource is None:
        raise status.bad_request(f'cannot bind token to object of kind "{kind}": only Pod and Secret are supported')
    found = cluster.store.get(Key(resource, call.target.namespace, name))
    if found is None:
        raise status.not_found("", resource, name)
    uid = found.obj["metadata"]["uid"]
    if reference.get("uid") and reference["uid"] != uid:
        raise status.conflict("", resource, name, f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. The object might have been deleted and then recreated")
    if kind == "Pod" and found.obj["spec"].get("serviceAccountName") != call.target.name:
        raise status.bad_request(f'cannot bind token for serviceaccount "{call.target.name}" to pod running with different serviceaccount name.')
    node_name = found.obj.get("spec", {}).get("nodeName") if kind == "Pod" else None
    node = cluster.store.get(Key("nodes", "", node_name)) if node_name else None
    return Bound(str(kind), name, uid), Bound("Node", node_name, node.obj["metadata"]["uid"]) if node and node_name else None


async def finalize(cluster: Cluster, call: Call) -> Response:
    """PUT of `namespaces/{name}/finalize`: only spec.finalizers counts."""
    _only(call, "update")
    given = writes.read_object(call)

    def decide(old: Obj) -> Obj:
        new = copy.deepcopy(old)
        new["metadata"]["resourceVersion"] = given["metadata"].get("resourceVersion", "")
        new["spec"] = {k: v for k, v in (given.get("spec") or {}).items() if k == "finalizers" and v}
        return new

    stored = await writes.modify(cluster, call, decide)
    return writes.answer(cluster, call, 200, stored)


async def object_part(cluster: Cluster, call: Call) -> Response:
    """`/status`, `/ephemeralcontainers`: get, update and patch of the object through that door."""
    if call.verb == "get":
        answer = reads.get(cluster, call)
        assert isinstance(answer, Response)
        return answer
    if call.verb == "update":
        return await writes.update(cluster, call)
    _only(call, "patch")
    result: Response = await patches.patch(cluster, call)
    return result


async def not_here(cluster: Cluster, call: Call) -> Response:
    """Subresources that need a kubelet which can change the resources of a running container."""
    raise status.not_implemented(f"pods/{call.target.subresource}: the sandbox's node does not enforce resources")


HANDLERS: dict[str, Handler] = {
    "scale": scale, "binding": binding, "eviction": eviction, "token": token, "finalize": finalize, "status": object_part,
    "ephemeralcontainers": object_part, "resize": not_here,
}  # fmt: skip


def _only(call: Call, verb: str) -> None:
    if call.verb != verb:
        raise status.method_not_allowed(call.verb)


def _body(call: Call, definition: str) -> Obj:
    value = decode.decode(call.request.body, call.request.headers.get("content-type", ""), definition).value
    if not isinstance(value, dict):
        raise status.bad_request("the body must be a JSON object")
    return value


def _success(code: int) -> Response:
    return Response(code, dump({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}))
