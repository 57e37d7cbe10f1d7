"""Reads: get, list and watch."""

from __future__ import annotations

import base64
import binascii
import json
from functools import partial

from mesh.sandbox.apiserver import selectors, status
from mesh.sandbox.apiserver.cluster import Call, Cluster
from mesh.sandbox.apiserver.http import Reply, Response, Stream
from mesh.sandbox.apiserver.storage import Stored, dump
from mesh.sandbox.apiserver.tables import negotiate
from mesh.sandbox.apiserver.views import View
from mesh.sandbox.apiserver.watch import Feed, Watcher

WATCH_SECONDS = (1800.0, 3600.0)  # kube-apiserver's --min-request-timeout, and at random up to twice that


def view(cluster: Cluster, call: Call) -> View:
    """The view that the request negotiated. Raises: ApiError 406."""
    include = call.request.arg("includeObject")
    if include not in ("", "None", "Metadata", "Object"):
        raise status.bad_request(f'includeObject: unsupported value "{include}": supported values: None, Metadata, Object')
    return View(call.resource, negotiate(call.request.headers.get("accept", "")), include, cluster.clock)


def get(cluster: Cluster, call: Call) -> Reply:
    """One object."""
    shown = view(cluster, call)
    stored = cluster.store.get(call.key)
    if stored is None:
        raise call.not_found()
    return Response(200, shown.one(stored), shown.content_type)


def list_or_watch(cluster: Cluster, call: Call) -> Reply:
    """A collection, now or from now on."""
    return watch(cluster, call) if call.verb == "watch" else list_(cluster, call)


def _revision(call: Call) -> int | None:
    text = call.request.arg("resourceVersion")
    if text in ("", "0"):
        return None if text == "" else 0
    if not text.isdecimal():
        raise status.bad_request(f'resourceVersion: Invalid value: "{text}": must be a decimal number')
    return int(text)


def list_(cluster: Cluster, call: Call) -> Response:
    """A list, whole or by pages. Source: API concepts, "Retrieving large results sets in chunks", "Resource versions"."""
    shown, request, store = view(cluster, call), call.request, cluster.store
    matches = _predicate(call)
    limit = _count(request.arg("limit"), "limit")
    match = request.arg("resourceVersionMatch")
    asked, token = _revision(call), request.arg("continue")
    namespace = call.target.namespace or None
    if match not in ("", "Exact", "NotOlderThan"):
        raise _options_error("FieldValueNotSupported", f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""')
    if match and asked is None:
        raise _options_error("FieldValueForbidden", "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided")
    if token:
        if asked:
            raise status.bad_request("specifying resource version is not allowed when using continue")
        revision, start = _read_token(token)
        found = [item for item in store.items_at(call.resource.key, revision, namespace) if item[0] > start]
    elif match == "Exact":
        if not asked:
            raise _options_error("FieldValueForbidden", 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
        revision, found = asked, store.items_at(call.resource.key, asked, namespace)
    else:
        if asked and asked > store.revision:
            raise status.future_revision(asked, store.revision)
        revision, found = store.revision, store.items(call.resource.key, namespace)
    if matches:
        found = [item for item in found if matches(item[1].obj)]
    meta: dict[str, object] = {"resourceVersion": str(revision)}
    if limit and len(found) > limit:
        meta["continue"] = _make_token(revision, found[limit - 1][0])
        if matches is None:
            meta["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return Response(200, shown.many([stored for _, stored in found], meta), shown.content_type)


def watch(cluster: Cluster, call: Call) -> Stream:
    """A stream of events. Source: API concepts, "Efficient detection of changes", "Streaming lists"."""
    shown, request, store = view(cluster, call), call.request, cluster.store
    matches = _predicate(call)
    revision = _revision(call)
    initial = request.arg("sendInitialEvents")
    if initial and request.arg("resourceVersionMatch") != "NotOlderThan":
        raise _options_error("FieldValueForbidden", "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if initial not in ("", "true", "false"):
        raise status.bad_request(f'sendInitialEvents: Invalid value: "{initial}": must be true or false')
    if revision and revision > store.revision:
        raise status.future_revision(revision, store.revision)
    seconds = float(_count(request.arg("timeoutSeconds"), "timeoutSeconds")) or cluster.rng.uniform(*WATCH_SECONDS)
    bookmarks = request.flag("allowWatchBookmarks")
    after: int | None
    if initial:
        after = None if initial == "true" else (revision or store.revision)
    else:
        after = revision or None
    namespace = call.target.namespace

    def present() -> list[Stored]:
        found = store.items(call.resource.key, namespace or None)
        return [stored for _, stored in found if matches is None or matches(stored.obj)]

    watcher = Watcher(call.resource.key, namespace, matches)
    feed = Feed(store, cluster.hub, watcher, shown.event, shown.bookmark, present, after, bookmarks, initial == "true" and bookmarks)
    return Stream(partial(feed.run, timeout_seconds=seconds), content_type=shown.content_type.replace("application/json;", "application/json;stream=watch;", 1))


def _options_error(reason: str, message: str) -> status.ApiError:
    return status.invalid("meta.k8s.io", "ListOptions", "", [status.Cause(reason, "resourceVersionMatch", message)])


def _predicate(call: Call) -> selectors.Predicate | None:
    fields = call.request.arg("fieldSelector")
    if call.target.name:
        fields = ",".join(filter(None, [fields, f"metadata.name={call.target.name}"]))
    return selectors.build(call.resource, call.request.arg("labelSelector"), fields)


def predicate(call: Call) -> selectors.Predicate | None:
    """Both selectors of the request (for deletecollection)."""
    return _predicate(call)


def _count(text: str, name: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise status.bad_request(f'{name}: Invalid value: "{text}": must be a non-negative number')
    return int(text)


def _make_token(revision: int, last: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(dump([revision, *last])).decode()


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        revision, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(revision), (str(namespace), str(name))
    except (ValueError, TypeError, binascii.Error) as exc:
        raise status.bad_request("continue key is not valid") from exc
