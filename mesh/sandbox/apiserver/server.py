"""The front door: one request to one reply. Who asks, may they, whose work is it; and every refusal as a Status."""

from __future__ import annotations

import logging
from dataclasses import replace

import trio

from mesh.sandbox.apiserver import connect, meta, patches, paths, reads, reviews, status, subresources, writes
from mesh.sandbox.apiserver.authn import User
from mesh.sandbox.apiserver.cluster import Call, Cluster
from mesh.sandbox.apiserver.http import Reply, Request, Response
from mesh.sandbox.apiserver.metrics import Metrics
from mesh.sandbox.apiserver.paths import Target
from mesh.sandbox.apiserver.rbac import Attributes
from mesh.sandbox.apiserver.selectors import selected_name
from mesh.sandbox.apiserver.storage import dump

log = logging.getLogger("mesh.sandbox.apiserver")


class Server:
    """Concurrency: `respond` by any number of tasks of one trio thread."""

    def __init__(self, cluster: Cluster, metrics: Metrics) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._meta = meta.Meta(cluster, metrics)

    async def respond(self, request: Request) -> Reply:
        """The reply to any request; never raises but for cancellation."""
        started = trio.current_time()
        labels = [request.method.lower(), "", ""]
        warnings: list[str] = []
        try:
            reply = await self._dispatch(request, labels, warnings)
        except status.ApiError as exc:
            reply = _refusal(exc)
        except Exception:
            log.exception("%s %s failed", request.method, request.target)
            reply = _refusal(status.internal("see the API server's log"))
        if not isinstance(reply, Response) or reply.status >= 400:
            log.debug("%s %s: %s", request.method, request.target, getattr(reply, "status", "upgraded"))
        for text in dict.fromkeys(warnings):
            # RFC 7234 5.5: code 299, no agent; quoted-string without controls.
            safe = "".join(c if c.isprintable() else " " for c in text).replace("\\", "\\\\").replace('"', '\\"')
            if hasattr(reply, "headers"):
                reply.headers.append(("Warning", f'299 - "{safe}"'))
        verb, plural, subresource = labels
        self._metrics.observe_request(verb, plural, subresource, getattr(reply, "status", 101), trio.current_time() - started)
        return reply

    async def _dispatch(self, request: Request, labels: list[str], warnings: list[str]) -> Reply:
        cluster = self._cluster
        user = cluster.authenticator.authenticate(request, int(cluster.clock().timestamp()))
        user = self._impersonate(request, user)
        target = paths.parse(request.path)
        if target is None:
            self._authorize(user, Attributes(request.method.lower(), path=request.path))
            return self._meta.respond(request, user)
        verb = paths.verb(request.method, target, request.flag("watch"))
        resource = cluster.registry.find(target.group, target.version, target.plural)
        labels[:] = [verb, target.plural if resource else "", target.subresource]
        name = target.name or selected_name(request.arg("fieldSelector"))
        self._authorize(user, Attributes(verb, target.group, target.plural, target.subresource, _scope(target), name))
        if resource is None:
            raise status.no_such_resource()
        if resource.namespaced and not target.namespace and (target.name or verb == "create"):
            raise status.no_such_resource() if target.name else status.bad_request("an empty namespace may not be set during creation")
        if target.namespace and not resource.namespaced:
            raise status.no_such_resource()
        call = Call(request, user, target, verb, resource, warnings)
        if resource.deprecated:
            warnings.append(resource.deprecated)
        if target.subresource:
            return await self._subresource(call)
        if verb not in resource.verbs or ((verb == "create") is bool(target.name) and verb in ("create", "update", "patch")):
            raise status.method_not_allowed(verb)
        match verb:
            case "get":
                return reads.get(cluster, call)
            case "list" | "watch":
                return reads.list_or_watch(cluster, call)
            case "create":
                return await (reviews.create(cluster, call) if resource.create_only else writes.create(cluster, call))
            case "update":
                return await writes.update(cluster, call)
            case "patch":
                reply: Reply = await patches.patch(cluster, call)
                return reply
            case "delete":
                return await writes.delete(cluster, call)
            case "deletecollection":
                return await writes.delete_collection(cluster, call)
        raise status.method_not_allowed(verb)

    async def _subresource(self, call: Call) -> Reply:
        name, resource = call.target.subresource, call.resource
        known = name in resource.subresources or (name == "status" and resource.has_status) or (name == "scale" and resource.scale is not None)
        if not known:
            raise status.no_such_resource()
        if name in connect.HANDLERS:
            return await connect.HANDLERS[name](self._cluster, call)
        return await subresources.HANDLERS[name](self._cluster, call)

    def _authorize(self, user: User, attributes: Attributes) -> None:
        if not self._cluster.authorizer.allows(user, attributes):
            what = "" if attributes.path else status.qualified(attributes.group, attributes.plural) + (f' "{attributes.name}"' if attributes.name else "")
            raise status.forbidden(f"{what + ' is ' if what else ''}forbidden: {attributes.describe(user)}", attributes.group, attributes.plural, attributes.name)

    def _impersonate(self, request: Request, user: User) -> User:
        """`kubectl --as`. Raises: ApiError 403: the user may not impersonate that one."""
        name = request.headers.get("impersonate-user", "")
        groups = tuple(value.decode("latin-1") for key, value in request.raw_headers if key.lower() == b"impersonate-group")
        if not name:
            if groups:
                raise status.bad_request("requested groups without impersonating a user")
            return user
        if name.startswith("system:serviceaccount:"):
            _, _, namespace, account = name.split(":", 3)
            self._authorize(user, Attributes("impersonate", "", "serviceaccounts", "", namespace, account))
            groups = groups or ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        else:
            self._authorize(user, Attributes("impersonate", "", "users", name=name))
        for group in groups:
            self._authorize(user, Attributes("impersonate", "", "groups", name=group))
        return replace(user, name=name, groups=(*groups, "system:authenticated"), uid="", extra={})


def _scope(target: Target) -> str:
    """The namespace that RBAC judges by: a Namespace object belongs to itself."""
    if target.plural == "namespaces" and not target.group:
        return target.name
    return target.namespace


def _refusal(error: status.ApiError) -> Response:
    headers = [("Retry-After", str(error.retry_after_seconds))] if error.retry_after_seconds else []
    return Response(error.code, dump(error.body()), headers=headers)
