"""ServiceEntry → `istio.ServiceEntry`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from mesh.control.kube import istio
from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.objects import PortProtocol, StaticEndpoint
from mesh.control.kube.parse_core import meta
from mesh.control.kube.parse_virtual_service import exported
from mesh.model.addr import Cidr
from mesh.model.endpoint import Locality

_PROTOCOLS = {
    "HTTP": PortProtocol.HTTP,
    "HTTP2": PortProtocol.HTTP2,
    "GRPC": PortProtocol.HTTP2,
    "GRPC-WEB": PortProtocol.HTTP,
    "HTTPS": PortProtocol.TLS,
    "TLS": PortProtocol.TLS,
    "TCP": PortProtocol.TCP,
    "MONGO": PortProtocol.TCP,
    "MYSQL": PortProtocol.TCP,
    "REDIS": PortProtocol.TCP,
}
_DNS_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_RESOLUTIONS = {resolution.value: resolution for resolution in istio.Resolution}


def service_entry(item: Mapping[str, Any]) -> istio.ServiceEntry:
    head = meta(item, "ServiceEntry", istio.GROUP)
    reader = Reader(head.ref)
    parsed = reader.attempt(lambda: _entry(Fields(item.get("spec") or {}, "spec", reader), head.namespace))
    if parsed is None:
        return istio.ServiceEntry(head, (), (), problems=tuple(reader.problems))
    hosts, ports, addresses, resolution, is_external, endpoints, selector, export_to, names = parsed
    return istio.ServiceEntry(
        meta=head,
        hosts=hosts,
        ports=ports,
        addresses=addresses,
        resolution=resolution,
        is_external=is_external,
        endpoints=endpoints,
        selector=selector,
        export_to=export_to,
        subject_alt_names=names,
        problems=tuple(reader.problems),
    )


def _entry(spec: Fields, namespace: str) -> tuple[Any, ...]:
    reader = spec.reader
    hosts = tuple(dict.fromkeys(host.lower() for host in spec.texts("hosts")))
    if not hosts:
        raise FieldError(spec.at("hosts"), "is required", "Required")
    resolution = spec.one_of("resolution", _RESOLUTIONS, istio.Resolution.NONE)
    is_external = spec.one_of("location", {"MESH_EXTERNAL": True, "MESH_INTERNAL": False}, True)
    ports = reader.collect(spec.objects("ports"), _port)
    endpoints = reader.collect(spec.objects("endpoints"), lambda e: _endpoint(e, resolution))
    selector = spec.object("workloadSelector")
    labels: dict[str, str] = {}
    if selector is not None:
        labels = selector.text_map("labels")
        selector.close()
    export_to = exported(spec.texts("exportTo"), namespace)
    names = spec.texts("subjectAltNames")
    addresses = tuple(_addresses(spec))
    spec.close()
    if resolution is istio.Resolution.STATIC and not endpoints and not labels:
        reader.warn(spec.at("endpoints"), "is empty: nothing answers for this entry", "NoEndpoints")
    is_dns = resolution in (istio.Resolution.DNS, istio.Resolution.DNS_ROUND_ROBIN)
    if is_dns and not endpoints:
        for host in (host for host in hosts if host.startswith("*")):
            reader.error(spec.at("hosts"), f"{host}: a wildcard cannot be resolved by DNS", "InvalidHost")
        hosts = tuple(host for host in hosts if not host.startswith("*"))
    return hosts, ports, addresses, resolution, is_external, endpoints, labels, export_to, names


def _addresses(spec: Fields) -> list[Cidr]:
    found = []
    for index, text in enumerate(spec.texts("addresses")):
        try:
            found.append(Cidr.parse(text))
        except ValueError as error:
            spec.reader.error(f"{spec.at('addresses')}[{index}]", str(error), "InvalidAddress")
    return found


def _port(item: Fields) -> istio.EntryPort:
    number = item.port("number")
    if number is None:
        raise FieldError(item.at("number"), "is required", "Required")
    target = item.port("targetPort") or number
    text = item.text("protocol", "TCP").upper()
    if text not in _PROTOCOLS:
        raise FieldError(item.at("protocol"), f"must be one of {', '.join(_PROTOCOLS)}, is {text}", "UnsupportedValue")
    port = istio.EntryPort(number, item.text("name"), _PROTOCOLS[text], target)
    item.close()
    return port


def _service_account(item: Fields) -> str:
    name = item.text("serviceAccount")
    if name and not _DNS_NAME.fullmatch(name):
        raise FieldError(item.at("serviceAccount"), f"{name!r} is no name of a ServiceAccount")
    return name


def _endpoint(item: Fields, resolution: istio.Resolution) -> StaticEndpoint:
    host = item.required_text("address")
    if resolution is istio.Resolution.STATIC:
        try:
            ipaddress.ip_address(host)
        except ValueError as error:
            raise FieldError(
                item.at("address"), f"{host!r} is no IP address (resolution STATIC)", "InvalidAddress"
            ) from error
    raw_ports = item.raw("ports") or {}
    if not isinstance(raw_ports, Mapping) or not all(isinstance(p, int) and 0 < p < 65536 for p in raw_ports.values()):
        raise FieldError(item.at("ports"), "must be an object of port numbers")
    region, _, rest = item.text("locality").partition("/")
    zone, _, sub_zone = rest.partition("/")
    endpoint = StaticEndpoint(
        host=host,
        ports=dict(raw_ports),
        labels=item.text_map("labels"),
        weight=item.integer("weight", 0, 1 << 20) or 1,
        locality=Locality(region, zone, sub_zone),
        service_account=_service_account(item),
    )
    item.ignore("network")
    item.close()
    return endpoint
