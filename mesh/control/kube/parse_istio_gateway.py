"""Istio's Gateway → `istio.IstioGateway`: servers that can be served, problems for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.control.kube import istio
from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.parse_core import meta
from mesh.model.match import StringKind, StringMatch

_PROTOCOLS = {name: name for name in ("HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO")}
_HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
_MIN_TLS = {"TLS_AUTO": "1.2", "TLSV1_0": "1.2", "TLSV1_1": "1.2", "TLSV1_2": "1.2", "TLSV1_3": "1.3"}

_MODES = {mode.value: mode for mode in istio.ServerTls if mode is not istio.ServerTls.NONE}
_TERMINATING = frozenset(_MODES) - {istio.ServerTls.PASSTHROUGH.value}
_MUTUAL = (istio.ServerTls.MUTUAL, istio.ServerTls.OPTIONAL_MUTUAL)


@dataclass(frozen=True, slots=True)
class _Tls:
    mode: istio.ServerTls = istio.ServerTls.NONE
    redirect: bool = False
    credentials: tuple[str, ...] = ()
    minimum: str = "1.2"
    client_names: tuple[StringMatch, ...] = ()


def istio_gateway(item: Mapping[str, Any]) -> istio.IstioGateway:
    head = meta(item, "Gateway", istio.GROUP)
    reader = Reader(head.ref)
    spec = reader.attempt(lambda: Fields(item.get("spec") or {}, "spec", reader))
    if spec is None:
        return istio.IstioGateway(head, {}, (), tuple(reader.problems))
    selector = reader.attempt(lambda: spec.text_map("selector"))
    servers = reader.attempt(lambda: reader.collect(spec.objects("servers"), lambda s: _server(s, head.namespace)))
    spec.close()
    if selector is None:
        servers = ()
    elif not selector:
        reader.warn("spec.selector", "is empty: this gateway applies to every gateway pod", "EmptySelector")
    if not servers:
        reader.error("spec.servers", "has no usable server", "Required")
    return istio.IstioGateway(head, selector or {}, servers or (), tuple(reader.problems))


def _server(item: Fields, namespace: str) -> istio.Server:
    port = item.object("port")
    if port is None or (number := port.port("number")) is None:
        raise FieldError(item.at("port.number"), "is required", "Required")
    protocol = _protocol(port)
    port_name = port.text("name")
    port.ignore("targetPort")
    port.close()
    hosts = _hosts(item, namespace)
    tls = item.object("tls")
    settings = _tls(tls, protocol) if tls is not None else _Tls()
    if protocol in ("HTTPS", "TLS") and settings.mode is istio.ServerTls.NONE:
        raise FieldError(item.at("tls"), f"is required for protocol {protocol}", "Required")
    server = istio.Server(
        path=item.path,
        port=number,
        port_name=port_name,
        protocol=protocol,
        hosts=hosts,
        tls=settings.mode,
        https_redirect=settings.redirect,
        credentials=settings.credentials,
        min_tls=settings.minimum,
        client_names=settings.client_names,
        bind=item.text("bind"),
    )
    item.ignore("name", "defaultEndpoint")
    if item.has("defaultEndpoint"):
        item.reader.warn(item.at("defaultEndpoint"), "is not supported and has no effect", "UnsupportedField")
    item.close()
    return server


def _protocol(port: Fields) -> str:
    text = port.required_text("protocol").upper()
    if text not in _PROTOCOLS:
        raise FieldError(port.at("protocol"), f"must be one of {', '.join(_PROTOCOLS)}, is {text}", "UnsupportedValue")
    return text


def _hosts(item: Fields, namespace: str) -> tuple[istio.ServerHost, ...]:
    found = []
    for text in item.texts("hosts"):
        scope, slash, host = text.rpartition("/")
        if slash and scope not in ("*", ""):
            found.append(istio.ServerHost(namespace if scope == "." else scope, host.lower()))
        else:
            found.append(istio.ServerHost("", host.lower()))
    if not found:
        raise FieldError(item.at("hosts"), "is required", "Required")
    return tuple(found)


def _tls(item: Fields, protocol: str) -> _Tls:
    redirect = item.boolean("httpsRedirect")
    mode = item.text("mode") or ("SIMPLE" if protocol in ("HTTPS", "TLS") else "")
    names = item.texts("credentialNames") or tuple(filter(None, (item.text("credentialName"),)))
    minimum = item.one_of("minProtocolVersion", _MIN_TLS, "1.2")
    client_names = tuple(StringMatch(StringKind.EXACT, name) for name in item.texts("subjectAltNames"))
    if mode and mode not in _MODES and protocol not in _HTTP:
        raise FieldError(
            item.at("mode"), f"{mode} is not supported yet; {', '.join(_MODES)} are", "UnsupportedValue"
        )
    if mode in _TERMINATING and protocol in ("HTTPS", "TLS") and not names:
        raise FieldError(item.at("credentialName"), "is required: certificate files are not supported", "Required")
    if client_names and _MODES.get(mode) not in _MUTUAL:
        raise FieldError(item.at("subjectAltNames"), "needs mode MUTUAL or OPTIONAL_MUTUAL", "Invalid")
    item.close()
    if protocol in _HTTP:
        return _Tls(redirect=redirect, minimum=minimum)
    if not mode:
        return _Tls(redirect=redirect, credentials=names, minimum=minimum)
    return _Tls(_MODES[mode], redirect, names, minimum, client_names)
