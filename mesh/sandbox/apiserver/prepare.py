"""Preparation: between what a client sent and what is stored. Sync; changes the new object in place."""

from __future__ import annotations

import re
from typing import Any

from mesh.sandbox.apiserver import crd, defaults, quantities, ratchet, rules, services, status, validation
from mesh.sandbox.apiserver.cluster import Call, Cluster
from mesh.sandbox.apiserver.schema import structural
from mesh.sandbox.apiserver.schema.definitions import TYPE_META, Node, child, resolve
from mesh.sandbox.apiserver.storage import Key

Obj = dict[str, Any]
# Rules rely on these, and on bounds: they cost by what they look at. Source: apiextensions-apiserver, registry/customresource, hasBlockingErr.
BLOCKING = ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
NOT_CHECKED = status.Cause("FieldValueInvalid", "<nil>", 'Invalid value: "null": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation')
TWICE = re.compile(
    r"\b(containers|initContainers|ephemeralContainers|volumes|volumeMounts|env|ports|imagePullSecrets|hostAliases|tolerations|schedulingGates|finalizers|conditions)\[\d+\]$"
)


def normalise(new: Obj, old: Obj | None, call: Call) -> None:
    """Fill in defaults and what this kind's strategy decides. May be repeated (after webhooks)."""
    resource = call.resource
    if resource.custom:
        structural.fill(new, resource.schema)
        return
    structural.drop_nulls(new, resource.schema)
    quantities.normalise(new, resource.schema)
    if resource.key == "secrets":
        _string_data(new)
    if resource.key == "namespaces" and call.target.subresource != "finalize":
        # Given at creation; only /finalize takes it away.
        finalizers = ["kubernetes"] if old is None else old.get("spec", {}).get("finalizers")
        new["spec"] = {"finalizers": finalizers} if finalizers else {}
    defaults.fill(new, resource.key)
    if resource.has_status:
        _complete_status(new.setdefault("status", {}), child(resource.schema, "status") or {})
    if resource.key == "services":
        services.carry_over(new, old)
    if resource.key == "customresourcedefinitions.apiextensions.k8s.io":
        crd.finish(new, old, call.target.subresource)


def _complete_status(status_part: Obj, node: Node) -> None:
    """A status is never absent, and its counters are never: typed clients read through both."""
    for name in node.get("required", ()):
        if (child(node, name) or {}).get("type") == "integer":
            status_part.setdefault(name, 0)


def _string_data(secret: Obj) -> None:
    import base64

    for name, text in (secret.pop("stringData", None) or {}).items():
        secret.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()


def validate(cluster: Cluster, new: Obj, old: Obj | None, call: Call) -> None:
    """Raises: ApiError 422: everything that is wrong with `new`."""
    resource = call.resource
    causes = validation.metadata(new, old, resource)
    if resource.custom:
        node = {**resolve(resource.schema), "properties": {**resolve(resource.schema).get("properties", {}), **TYPE_META}}
        causes += ratchet.new_ones(_structure(new, node), new, old, node)
        if not any(cause.reason in BLOCKING for cause in causes):
            found, warnings = crd.evaluate_rules(new, old, resource)
            causes += found
            call.warnings += [w for w in warnings if w not in call.warnings]
        elif rules.has_rules(resource.schema):
            causes.append(NOT_CHECKED)
    else:
        # Checks of the kind may rely on types and required fields.
        found = [cause for cause in _structure(new, resource.schema) if not _may_be_twice(cause)]
        causes += found or validation.check(new, old, resource, call.target.subresource)
        if not causes and resource.key == "customresourcedefinitions.apiextensions.k8s.io":
            causes += crd.check(new, old)
    if causes:
        raise status.invalid(resource.group, resource.kind, new["metadata"].get("name", ""), causes)


def _structure(new: Obj, node: Node) -> list[status.Cause]:
    """What the schema says; of owners `validation.metadata` has spoken."""
    return [cause for cause in structural.check(new, node, "") if not cause.field.startswith("metadata.ownerReferences")]


def _may_be_twice(cause: status.Cause) -> bool:
    """Lists of built-in kinds are keyed for patches; what must not be twice in them the kind's own checks say."""
    return cause.reason == "FieldValueDuplicate" and re.search(TWICE, cause.field) is not None


def check_namespace(cluster: Cluster, call: Call) -> None:
    """NamespaceLifecycle. Raises: ApiError 404 or 403: the namespace does not exist or is ending."""
    if not call.resource.namespaced:
        return
    namespace = cluster.store.head(Key("namespaces", "", call.target.namespace))
    if namespace is None:
        raise status.not_found("", "namespaces", call.target.namespace)
    if namespace.obj["metadata"].get("deletionTimestamp"):
        where = call.target.namespace
        error = status.forbidden(
            f"{status.qualified(call.resource.group, call.resource.plural)} is forbidden: unable to create new content in namespace {where} because it is being terminated",
            call.resource.group, call.resource.plural)  # fmt: skip
        error.causes = (status.Cause("NamespaceTerminating", "metadata.namespace", f"namespace {where} is being terminated"),)
        raise error


def allocate(cluster: Cluster, new: Obj, old: Obj | None, call: Call) -> None:
    """Cluster IPs and node ports, against the newest state and in the same breath as the put. Raises: ApiError 422."""
    if call.resource.key == "services" and not call.target.subresource:
        others = [stored.obj for key, stored in cluster.store.head_items("services") if key != Key("services", call.target.namespace, new["metadata"]["name"])]
        causes = services.allocate(new, others, cluster.rng)
        if causes:
            raise status.invalid("", "Service", new["metadata"]["name"], causes)
