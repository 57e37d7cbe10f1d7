"""GatewayClass, Gateway and ReferenceGrant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.control.kube import gateway_api
from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.parse_core import meta

_FROM = {item.value: item for item in gateway_api.AllowedFrom}


def gateway_class(item: Mapping[str, Any]) -> gateway_api.GatewayClass:
    spec = item.get("spec") or {}
    return gateway_api.GatewayClass(meta(item, "GatewayClass", gateway_api.GROUP), spec.get("controllerName") or "")


def gateway(item: Mapping[str, Any]) -> gateway_api.Gateway:
    head = meta(item, "Gateway", gateway_api.GROUP)
    reader = Reader(head.ref)
    spec = reader.attempt(lambda: Fields(item.get("spec") or {}, "spec", reader))
    if spec is None:
        return gateway_api.Gateway(head, "", (), tuple(reader.problems))
    listeners = reader.attempt(
        lambda: reader.collect(spec.objects("listeners"), lambda entry: _listener(entry, head.namespace))
    )
    class_name = reader.attempt(lambda: spec.text("gatewayClassName")) or ""
    spec.ignore("infrastructure")
    spec.close()
    return gateway_api.Gateway(head, class_name, listeners or (), tuple(reader.problems))


def _listener(item: Fields, namespace: str) -> gateway_api.GatewayListener:
    port = item.port("port")
    if port is None:
        raise FieldError(item.at("port"), "is required", "Required")
    allowed = item.object("allowedRoutes")
    allowed_from = gateway_api.AllowedFrom.SAME
    labels: dict[str, str] = {}
    kinds: tuple[tuple[str, str], ...] = ()
    if allowed is not None:
        allowed_from, labels = _namespaces(allowed.object("namespaces"))
        kinds = tuple(
            (entry.text("group") if entry.has("group") else gateway_api.GROUP, entry.required_text("kind"))
            for entry in allowed.objects("kinds")
        )
        allowed.close()
    tls = item.object("tls")
    listener = gateway_api.GatewayListener(
        path=item.path,
        name=item.required_text("name"),
        port=port,
        protocol=item.required_text("protocol"),
        hostname=item.text("hostname").lower(),
        tls=_tls(tls, namespace) if tls is not None else None,
        allowed_from=allowed_from,
        namespace_labels=labels,
        kinds=kinds,
    )
    item.close()
    return listener


def _namespaces(item: Fields | None) -> tuple[gateway_api.AllowedFrom, dict[str, str]]:
    if item is None:
        return gateway_api.AllowedFrom.SAME, {}
    allowed_from = item.one_of("from", _FROM, gateway_api.AllowedFrom.SAME)
    selector = item.object("selector")
    item.close()
    if selector is None:
        return allowed_from, {}
    if selector.has("matchExpressions"):
        raise FieldError(selector.at("matchExpressions"), "is not supported; use matchLabels", "UnsupportedField")
    return allowed_from, selector.text_map("matchLabels")


def _tls(item: Fields, namespace: str) -> gateway_api.ListenerTls:
    passthrough = item.one_of("mode", {"Terminate": False, "Passthrough": True}, False)
    certificates = []
    for entry in item.objects("certificateRefs"):
        if (entry.text("group"), entry.text("kind", "Secret")) != ("", "Secret"):
            raise FieldError(entry.path, "only Secrets can hold a certificate", "InvalidCertificateRef")
        certificates.append((entry.text("namespace") or namespace, entry.required_text("name")))
    item.close()
    return gateway_api.ListenerTls(passthrough, tuple(certificates))


def reference_grant(item: Mapping[str, Any]) -> gateway_api.ReferenceGrant:
    head = meta(item, "ReferenceGrant", gateway_api.GROUP)
    reader = Reader(head.ref)
    spec = reader.attempt(lambda: Fields(item.get("spec") or {}, "spec", reader))
    if spec is None:
        return gateway_api.ReferenceGrant(head, frozenset(), frozenset(), tuple(reader.problems))
    sources = reader.collect(
        spec.objects("from"),
        lambda entry: (entry.text("group"), entry.required_text("kind"), entry.required_text("namespace")),
    )
    targets = reader.collect(
        spec.objects("to"), lambda entry: (entry.text("group"), entry.required_text("kind"), entry.text("name"))
    )
    return gateway_api.ReferenceGrant(head, frozenset(sources), frozenset(targets), tuple(reader.problems))
