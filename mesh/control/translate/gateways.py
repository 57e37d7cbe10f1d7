"""Gateways: which servers gateway pods open, from Istio's Gateways and Gateway API's, and which routes hang on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mesh.control.kube import gateway_api, istio
from mesh.control.kube.objects import Key, Meta
from mesh.control.kube.world import World
from mesh.control.mesh_config import MeshConfig
from mesh.control.translate.attachment import Attachment, attachments, is_ours
from mesh.control.translate.credentials import Credentials, credentials
from mesh.control.translate.delegation import delegated
from mesh.control.translate.registry import covers
from mesh.model.match import StringMatch
from mesh.model.origin import Problem, Severity


class Serving(Enum):
    """What a server does with a connection."""

    HTTP = "http"
    HTTPS = "https"
    TLS_PASSTHROUGH = "tls"
    TLS_TERMINATED = "tls-tcp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Bound:
    """One server. key: `ns/name` of its Gateway, as VirtualServices name it; "" for Gateway API's.

    port: as declared; the pod's own port is the target of the gateway Service's. namespace: of the pods, "" = any.
    routes: attached Gateway API routes with the host names under which they hold.
    tls: how TLS is terminated, if it is. client_names: one of them must be in a client's certificate; () = any.
    """

    meta: Meta
    key: str
    path: str
    selector: Mapping[str, str]
    port: int
    serving: Serving
    hosts: tuple[istio.ServerHost, ...]
    port_name: str = ""
    namespace: str = ""
    credentials: tuple[Key, ...] = ()
    https_redirect: bool = False
    min_tls: str = "1.2"
    tls: istio.ServerTls = istio.ServerTls.SIMPLE
    client_names: tuple[StringMatch, ...] = ()
    bind: str = ""
    routes: tuple[tuple[tuple[str, ...], gateway_api.HttpRoute], ...] = ()


@dataclass(frozen=True, slots=True)
class Gateways:
    """servers: oldest Gateway first. virtual_services: by gateway key, oldest first."""

    servers: tuple[Bound, ...] = ()
    virtual_services: Mapping[str, tuple[istio.VirtualService, ...]] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    problems: tuple[Problem, ...] = ()


def gateways(world: World, config: MeshConfig) -> Gateways:
    """Reads every Gateway and what refers to it."""
    problems: list[Problem] = []
    found: list[tuple[tuple[str, str, str], Bound]] = []
    for gateway in world.istio_gateways.values():
        found += ((gateway.meta.age_order, bound) for bound in _of_istio(gateway))
    attached = tuple(attachments(world, config))
    problems += (problem for item in attached for problem in item.problems)
    for modern in world.gateways.values():
        if is_ours(modern, world, config):
            found += ((modern.meta.age_order, b) for b in _of_gateway_api(modern, config, attached, problems))
    found.sort(key=lambda entry: entry[0])
    servers = tuple(bound for _, bound in found)
    problems += _credential_problems(servers, world, config)
    by_gateway: dict[str, list[istio.VirtualService]] = {}
    known = {f"{gateway.meta.namespace}/{gateway.meta.name}" for gateway in world.istio_gateways.values()}
    # What is wrong with delegates is said once, by `bindings`.
    virtual_services, _ = delegated(world.virtual_services)
    for item in sorted(virtual_services.values(), key=lambda item: item.meta.age_order):
        for name in sorted(item.gateways - {istio.MESH}):
            by_gateway.setdefault(name, []).append(item)
            if name not in known:
                message = f"there is no Gateway {name}"
                problems.append(Problem(item.meta.ref, "spec.gateways", message, "ReferencedResourceNotFound"))
            else:
                problems += _unserved(item, name, servers)
    bound = {name: tuple(items) for name, items in by_gateway.items()}
    return Gateways(servers, bound, attached, tuple(dict.fromkeys(problems)))


def server_credentials(server: Bound, world: World, gateway_namespace: str) -> Credentials:
    """The Secrets that a server needs. Args: gateway_namespace: of the gateway's pods, where Istio looks first."""
    return credentials(
        world,
        server.credentials,
        (gateway_namespace, server.meta.namespace),
        server.tls in (istio.ServerTls.MUTUAL, istio.ServerTls.OPTIONAL_MUTUAL),
        server.client_names,
        "" if server.key else server.meta.namespace,
    )


_SERVING = {
    istio.ServerTls.NONE: Serving.HTTP,
    istio.ServerTls.SIMPLE: Serving.HTTPS,
    istio.ServerTls.MUTUAL: Serving.HTTPS,
    istio.ServerTls.OPTIONAL_MUTUAL: Serving.HTTPS,
    istio.ServerTls.PASSTHROUGH: Serving.TLS_PASSTHROUGH,
}


def _of_istio(gateway: istio.IstioGateway) -> Iterator[Bound]:
    for server in gateway.servers:
        serving = _SERVING[server.tls]
        if server.protocol in ("TCP", "MONGO"):
            serving = Serving.TCP
        elif server.protocol == "TLS" and serving is Serving.HTTPS:
            serving = Serving.TLS_TERMINATED
        yield Bound(
            meta=gateway.meta,
            key=f"{gateway.meta.namespace}/{gateway.meta.name}",
            path=server.path,
            selector=gateway.selector,
            port=server.port,
            serving=serving,
            hosts=server.hosts,
            port_name=server.port_name,
            credentials=tuple(("", name) for name in server.credentials),
            https_redirect=server.https_redirect,
            min_tls=server.min_tls,
            tls=server.tls,
            client_names=server.client_names,
            bind=server.bind,
        )


def _of_gateway_api(
    gateway: gateway_api.Gateway, config: MeshConfig, attached: Iterable[Attachment], problems: list[Problem]
) -> Iterator[Bound]:
    for listener in gateway.listeners:
        serving = serving_of(listener)
        if serving is None:
            message = f"protocol {listener.protocol} with this TLS mode is not supported"
            problems.append(Problem(gateway.meta.ref, listener.path, message, "UnsupportedProtocol"))
            continue
        yield Bound(
            meta=gateway.meta,
            key="",
            path=listener.path,
            selector=dict(config.ingress_selector),
            namespace=config.ingress_namespace,
            port=listener.port,
            serving=serving,
            hosts=(istio.ServerHost("", listener.hostname or "*"),),
            port_name=listener.name,
            credentials=listener.tls.certificates if listener.tls is not None else (),
            routes=tuple(
                (hosts, item.route)
                for item in attached
                if item.gateway is gateway
                for name, hosts in item.listeners
                if name == listener.name
            ),
        )


def serving_of(listener: gateway_api.GatewayListener) -> Serving | None:
    """None: a protocol that no route kind of ours can use."""
    if listener.protocol == "HTTP":
        return Serving.HTTP
    if listener.protocol == "HTTPS" and listener.tls is not None and not listener.tls.passthrough:
        return Serving.HTTPS
    return None


def _credential_problems(servers: Iterable[Bound], world: World, config: MeshConfig) -> Iterator[Problem]:
    for server in servers:
        for message in server_credentials(server, world, config.ingress_namespace).problems:
            yield Problem(server.meta.ref, f"{server.path}.tls", message, "InvalidGatewayCredential")


def _unserved(item: istio.VirtualService, key: str, servers: Iterable[Bound]) -> Iterator[Problem]:
    mine = [server for server in servers if server.key == key]
    for host in item.hosts:
        if not any(intersection(own, item.meta.namespace, host) for server in mine for own in server.hosts):
            message = f"no server of Gateway {key} serves the host {host}"
            code = "VirtualServiceHostNotFoundInGateway"
            yield Problem(item.meta.ref, "spec.hosts", message, code, Severity.WARNING)


def intersection(server: istio.ServerHost, namespace: str, host: str) -> str:
    """The names that a server's host and a route's host have in common; "" when there are none."""
    if server.namespace and server.namespace != namespace:
        return ""
    return common_host(server.host, host)


def common_host(one: str, other: str) -> str:
    """The narrower of two patterns when one covers the other, else ""."""
    if covers(one, other):
        return other
    return one if covers(other, one) else ""
