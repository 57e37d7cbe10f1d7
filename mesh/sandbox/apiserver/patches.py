"""PATCH: the four kinds of patch, each as a function from the present object to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.sandbox.apiserver import decode, managed, status, writes
from mesh.sandbox.apiserver.apply import apply
from mesh.sandbox.apiserver.cluster import Call, Cluster
from mesh.sandbox.apiserver.jsonpatch import PatchError, apply_json_patch, apply_merge_patch
from mesh.sandbox.apiserver.storage import Stored
from mesh.sandbox.apiserver.strategic import apply_strategic

Obj = dict[str, Any]

JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


async def patch_object(cluster: Cluster, call: Call) -> tuple[Stored, bool]:
    """Apply the body to the named object (or its status). Returns the object and whether it was created. Raises: ApiError."""
    kind = decode.media_type(call.request.headers.get("content-type", ""))
    if kind == APPLY:
        return await _server_side_apply(cluster, call)
    return await writes.modify(cluster, call, decider(call, kind)), False


async def patch(cluster: Cluster, call: Call) -> Any:
    """PATCH of an object."""
    stored, created = await patch_object(cluster, call)
    return writes.answer(cluster, call, 201 if created else 200, stored)


def decider(call: Call, kind: str) -> Callable[[Obj], Obj]:
    """The function from the present object to the patched one. Raises: ApiError 400, 415."""
    body = decode.decode_json(call.request.body)
    level = decode.field_validation(call.request.arg("fieldValidation"))
    if kind == STRATEGIC and call.resource.custom:
        raise status.unsupported_media_type(", ".join((JSON, MERGE, APPLY)))
    functions: dict[str, Callable[[Obj], Any]] = {
        JSON: lambda old: apply_json_patch(old, body.value),
        MERGE: lambda old: apply_merge_patch(old, body.value),
        STRATEGIC: lambda old: apply_strategic(old, body.value, decode.full_schema(call.resource)),
    }
    if kind not in functions:
        raise status.unsupported_media_type(", ".join((JSON, MERGE, STRATEGIC, APPLY)))
    if not isinstance(body.value, list if kind == JSON else dict):
        raise status.bad_request(f"the patch must be a JSON {'array of operations' if kind == JSON else 'object'}")

    def decide(old: Obj) -> Obj:
        try:
            new = functions[kind](old)
        except PatchError as exc:
            raise status.bad_patch(exc) from exc
        warnings: list[str] = []
        new = decode.check_kind(new, call.resource)
        decode.conform(new, call.resource, level, body.duplicates, warnings)
        call.warnings += [w for w in warnings if w not in call.warnings]
        # Only a patch that names a resourceVersion is conditional.
        named = isinstance(body.value, dict) and (body.value.get("metadata") or {}).get("resourceVersion")
        if not named and new["metadata"].get("resourceVersion") == old["metadata"].get("resourceVersion"):
            new["metadata"].pop("resourceVersion", None)
        return new

    return decide


async def _server_side_apply(cluster: Cluster, call: Call) -> tuple[Stored, bool]:
    if not call.request.arg("fieldManager"):
        raise status.invalid("meta.k8s.io", "PatchOptions", "", [status.Cause("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")])
    body = decode.decode_yaml(call.request.body)
    if isinstance(body.value, dict) and not (body.value.get("apiVersion") and body.value.get("kind")):
        raise status.bad_request("an applied object must name its apiVersion and kind")
    config = decode.check_kind(body.value, call.resource)
    if not isinstance(body.value.get("metadata"), dict) or config["metadata"].get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    config["metadata"].setdefault("name", call.target.name)
    if config["metadata"]["name"] != call.target.name:
        text = f"the name of the object ({config['metadata']['name']}) does not match the name on the URL ({call.target.name})"
        if cluster.store.head(call.key) is None:
            raise status.bad_request(text)
        raise status.conflict(call.resource.group, call.resource.plural, call.target.name, text)
    if call.resource.namespaced:
        config["metadata"].setdefault("namespace", call.target.namespace)
    decode.conform(config, call.resource, decode.field_validation(call.request.arg("fieldValidation")), body.duplicates, call.warnings)
    force, now = call.request.flag("force"), cluster.clock()

    def decide(old: Obj) -> Obj:
        return apply(old, config, call.resource, call.target.subresource, call.manager, force, now)

    if cluster.store.head(call.key) is None:
        if call.target.subresource or config["metadata"].get("uid"):
            raise call.not_found()
        try:
            return await writes.create_object(cluster, call, apply(None, config, call.resource, "", call.manager, force, now)), True
        except status.ApiError as exc:
            if exc.reason != "AlreadyExists":
                raise
    return await writes.modify(cluster, call, decide, managed.on_apply), False

