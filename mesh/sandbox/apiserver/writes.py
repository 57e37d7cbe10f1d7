"""Writes: create, update, patch, delete and deletecollection.

Every write is: decide (sync, on the newest state) → admit (webhooks may take their time) → put if the state is still the same, else
decide again. Nothing but `store.put` and `store.delete` changes the cluster.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from mesh.sandbox.apiserver import decode, deletion, managed, objects, prepare, reads, status
from mesh.sandbox.apiserver.admission import Operation
from mesh.sandbox.apiserver.cluster import Call, Cluster
from mesh.sandbox.apiserver.convert import from_storage, to_storage
from mesh.sandbox.apiserver.http import Response
from mesh.sandbox.apiserver.storage import Key, Stale, Stored, dump

Obj = dict[str, Any]

NAME_ATTEMPTS = 8  # generateName collisions
RACE_ATTEMPTS = 64  # an unconditional write that keeps losing against others


def read_object(call: Call) -> Obj:
    """The object in the body, fitted to the schema. Raises: ApiError 400, 415."""
    body = decode.decode(call.request.body, call.request.headers.get("content-type", ""), call.resource.schema.get("$ref", ""))
    obj = decode.check_kind(body.value, call.resource)
    decode.conform(obj, call.resource, decode.field_validation(call.request.arg("fieldValidation")), body.duplicates, call.warnings)
    return obj


async def create(cluster: Cluster, call: Call) -> Response:
    """POST to a collection."""
    obj = read_object(call)
    stored = await create_object(cluster, call, obj)
    return answer(cluster, call, 201, stored)


async def create_object(cluster: Cluster, call: Call, given: Obj) -> Stored:
    """Create `given` (in the call's version). Raises: ApiError."""
    generated = call.is_name_generated = not given["metadata"].get("name")
    for attempt in range(NAME_ATTEMPTS):
        obj = copy.deepcopy(given)
        objects.begin_create(obj, call.resource, call.target.namespace, cluster.stamp())
        prepare.normalise(obj, None, call)
        # Before admission, as real servers do: what webhooks add belongs to nobody, so that nobody's apply removes it.
        managed.on_create(obj, call.resource, call.manager, cluster.clock())
        obj = await cluster.admission.admit(cluster, call, Operation.CREATE, obj, None)
        prepare.validate(cluster, obj, None, call)
        await cluster.admission.validate(cluster, call, Operation.CREATE, obj, None)
        obj = to_storage(obj, call.resource)
        key = Key(call.resource.key, call.target.namespace, obj["metadata"]["name"])
        prepare.check_namespace(cluster, call)
        if call.resource.unacted:
            call.warnings.append(call.resource.unacted)
        if cluster.store.head(key) is not None:
            if generated and attempt + 1 < NAME_ATTEMPTS:
                continue
            raise status.already_exists(call.resource.group, call.resource.plural, key.name)
        prepare.allocate(cluster, obj, None, call)
        if call.dry_run:
            return Stored(0, dump(obj), obj)
        try:
            return await cluster.store.put(key, obj, None)
        except Stale:
            continue
    raise status.already_exists(call.resource.group, call.resource.plural, given["metadata"].get("name", ""))


async def update(cluster: Cluster, call: Call) -> Response:
    """PUT of the object or of its status."""
    given = read_object(call)
    stored = await modify(cluster, call, lambda old: copy.deepcopy(given))
    return answer(cluster, call, 200, stored)


async def modify(cluster: Cluster, call: Call, decide: Callable[[Obj], Obj], track: managed.Track = managed.on_update) -> Stored:
    """Change the named object into `decide(its present state)`, both in the call's version.

    `decide` may be called several times. Raises: ApiError; 404 when there is no such object.
    """
    for _ in range(RACE_ATTEMPTS):
        expected = cluster.store.head(call.key)
        if expected is None:
            raise call.not_found()
        old = from_storage(expected.obj, call.resource)
        new = decide(copy.deepcopy(old))
        objects.check_update_revision(new, old, call.resource)
        conditional = bool(new["metadata"].get("resourceVersion"))
        new = objects.begin_update(new, old, call.resource, call.target.subresource)
        prepare.normalise(new, old, call)
        track(new, old, call.resource, call.target.subresource, call.manager, cluster.clock())
        new = await cluster.admission.admit(cluster, call, Operation.UPDATE, new, old)
        objects.finish_update(new, old, call.resource)
        prepare.validate(cluster, new, old, call)
        await cluster.admission.validate(cluster, call, Operation.UPDATE, new, old)
        new = to_storage(new, call.resource)
        try:
            return await _store_update(cluster, call, new, expected)
        except Stale:
            if conditional:
                raise status.conflict(call.resource.group, call.resource.plural, call.target.name, status.STALE) from None
    raise status.conflict(call.resource.group, call.resource.plural, call.target.name, status.STALE)


async def _store_update(cluster: Cluster, call: Call, new: Obj, expected: Stored) -> Stored:
    if cluster.store.head(call.key) is not expected:
        raise Stale(call.key)
    prepare.allocate(cluster, new, expected.obj, call)
    if objects.same(new, expected.obj) and managed.same(new, expected.obj):
        return expected
    if call.dry_run:
        new["metadata"]["resourceVersion"] = str(expected.revision)
        return Stored(expected.revision, dump(new), new)
    if deletion.is_finished(new, call.resource):
        return await cluster.store.delete(call.key, new, expected)
    return await cluster.store.put(call.key, new, expected)


async def delete(cluster: Cluster, call: Call) -> Response:
    """DELETE of one object: at once, or the begin of its graceful end."""
    options = deletion.read_options(call)
    stored, gone = await delete_object(cluster, call, call.key, options)
    if not gone or call.resource.key == "pods":
        return answer(cluster, call, 200, stored)
    group = {"group": call.resource.group} if call.resource.group else {}
    details = {"name": call.target.name, **group, "kind": call.resource.plural, "uid": stored.obj["metadata"]["uid"]}
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return Response(200, dump(body))


async def delete_object(cluster: Cluster, call: Call, key: Key, options: deletion.Options) -> tuple[Stored, bool]:
    """Delete or begin to. Returns the last state and whether the object is gone. Raises: ApiError."""
    for _ in range(RACE_ATTEMPTS):
        expected = cluster.store.head(key)
        if expected is None:
            raise status.not_found(call.resource.group, call.resource.plural, key.name)
        deletion.check_preconditions(expected.obj, options, call.resource)
        old = from_storage(expected.obj, call.resource)
        await cluster.admission.validate(cluster, call, Operation.DELETE, None, old)
        verdict = deletion.decide(expected.obj, call.resource, options, cluster.clock())
        if call.dry_run or verdict.obj is None:
            return Stored(expected.revision, dump(verdict.obj or expected.obj), verdict.obj or expected.obj), verdict.gone
        try:
            if verdict.gone:
                return await cluster.store.delete(key, verdict.obj, expected), True
            return await cluster.store.put(key, verdict.obj, expected), False
        except Stale:
            continue
    raise status.conflict(call.resource.group, call.resource.plural, key.name, status.STALE)


async def delete_collection(cluster: Cluster, call: Call) -> Response:
    """DELETE of everything that matches."""
    options, matches = deletion.read_options(call), reads.predicate(call)
    shown = reads.view(cluster, call)
    deleted = []
    for place, found in cluster.store.items(call.resource.key, call.target.namespace or None):
        if matches is None or matches(found.obj):
            try:
                deleted.append((await delete_object(cluster, call, Key(call.resource.key, *place), options))[0])
            except status.ApiError as exc:
                if exc.code != 404:  # gone meanwhile: all the better
                    raise
    return Response(200, shown.many(deleted, {"resourceVersion": str(cluster.store.revision)}), shown.content_type)


def answer(cluster: Cluster, call: Call, code: int, stored: Stored) -> Response:
    """The stored object in the form the request asked for."""
    shown = reads.view(cluster, call)
    return Response(code, shown.one(stored), shown.content_type)
