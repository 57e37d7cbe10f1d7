"""Mesh config: ConfigMap `triomesh` in the system namespace, key `mesh` (YAML), over the defaults; and a node's share.

Strict: a field that is wrong or unknown becomes a Problem on the ConfigMap and keeps its default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import yaml

from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.objects import ConfigMap
from mesh.model.listener import AccessLog
from mesh.model.origin import ObjectRef, Problem
from mesh.model.spiffe import is_trust_domain

CONFIG_MAP_NAME = "triomesh"
CONFIG_MAP_KEY = "mesh"

# Istio's JSON keys (pilot/pkg/model/telemetry_logging.go) and two of our own, trace_id and route_origin; sorted: a
# protobuf Struct keeps no order. Our proxy prints the origin as "VirtualService/default/reviews http[0]", an Envoy as
# the object that the route's metadata holds.
JSON_FORMAT: tuple[tuple[str, str], ...] = (
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("route_origin", "%METADATA(ROUTE:triomesh.io)%"),
    ("start_time", "%START_TIME%"),
    ("trace_id", "%TRACE_ID%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
)
TEXT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What a proxy logs and traces. access_log_path "" = no log. otlp: "host:port" or "" (no export)."""

    access_log_path: str = "/dev/stdout"
    access_log_json: bool = True
    sampling_percent: float = 1.0
    otlp: str = ""

    def access_logs(self) -> tuple[AccessLog, ...]:
        if not self.access_log_path:
            return ()
        if self.access_log_json:
            return (AccessLog(self.access_log_path, json=JSON_FORMAT),)
        return (AccessLog(self.access_log_path, text=TEXT_FORMAT),)


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """Mesh-wide settings, named as in Istio's MeshConfig where that has them.

    registry_only: outboundTrafficPolicy REGISTRY_ONLY: unknown destinations get 502 (HTTP) or a close.
    root_namespace: its DestinationRules and exports hold for everybody.
    ingress_selector, ingress_namespace: the pods that serve Gateway API Gateways of the classes named here.
    auto_mtls: mesh TLS towards every endpoint that offers it, where no DestinationRule says otherwise.
    """

    proxy: ProxySettings = ProxySettings()
    registry_only: bool = False
    connect_timeout_seconds: float = 10.0
    root_namespace: str = "triomesh-system"
    ingress_namespace: str = "triomesh-system"
    ingress_selector: tuple[tuple[str, str], ...] = (("istio", "ingressgateway"),)
    gateway_classes: tuple[str, ...] = ("triomesh", "istio")
    trust_domain: str = "cluster.local"
    auto_mtls: bool = True


def mesh_config(source: ConfigMap | None, root_namespace: str) -> tuple[MeshConfig, tuple[Problem, ...]]:
    """The effective config and what is wrong with its source; no ConfigMap = the defaults."""
    base = MeshConfig(root_namespace=root_namespace, ingress_namespace=root_namespace)
    text = source.data.get(CONFIG_MAP_KEY) if source is not None else None
    if source is None or text is None:
        return base, ()
    reader = Reader(ObjectRef("ConfigMap", source.meta.namespace, source.meta.name))
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        reader.error(f"data.{CONFIG_MAP_KEY}", f"is no YAML{where}", "InvalidYaml")
        return base, tuple(reader.problems)
    parsed = reader.attempt(lambda: _parse(Fields({} if value is None else value, CONFIG_MAP_KEY, reader), base))
    return parsed or base, tuple(reader.problems)


def _parse(item: Fields, base: MeshConfig) -> MeshConfig:
    reader = item.reader
    config = base
    for step in (_access_log, _default_config, _egress, _ingress, _identity, _auto_mtls):
        # One bad field costs itself only.
        config = reader.attempt(lambda step=step, config=config: step(item, config)) or config  # type: ignore[misc]
    timeout = reader.attempt(lambda: item.seconds("connectTimeout"))
    if timeout:
        config = replace(config, connect_timeout_seconds=timeout)
    item.close()
    return config


def _identity(item: Fields, config: MeshConfig) -> MeshConfig:
    trust_domain = item.text("trustDomain") or config.trust_domain
    if not is_trust_domain(trust_domain):
        message = f"must be lower-case letters, digits, dots, dashes and underscores, is {trust_domain!r}"
        raise FieldError(item.at("trustDomain"), message)
    return replace(config, trust_domain=trust_domain)


def _auto_mtls(item: Fields, config: MeshConfig) -> MeshConfig:
    return replace(config, auto_mtls=item.boolean("enableAutoMtls", config.auto_mtls))


def _access_log(item: Fields, config: MeshConfig) -> MeshConfig:
    path = item.text("accessLogFile", config.proxy.access_log_path)
    is_json = item.one_of("accessLogEncoding", {"JSON": True, "TEXT": False}, config.proxy.access_log_json)
    if item.has("accessLogFile") and not item.value["accessLogFile"]:
        path = ""
    return replace(config, proxy=replace(config.proxy, access_log_path=path, access_log_json=is_json))


# The rest of ProxyConfig is the injector's: it reaches a sidecar by its environment.
_INJECTED = (
    "discoveryAddress",
    "controlPlaneAuthPolicy",
    "drainDuration",
    "terminationDrainDuration",
    "logLevel",
    "holdApplicationUntilProxyStarts",
    "proxyMetadata",
    "image",
)


def _default_config(item: Fields, config: MeshConfig) -> MeshConfig:
    default = item.object("defaultConfig")
    if default is None:
        return config
    default.ignore(*_INJECTED, "tracing", "accessLog")
    workers = default.integer("concurrency", 0, 64)
    if workers not in (None, 1):
        item.reader.warn(default.at("concurrency"), f"is {workers} and has no effect: a proxy is one process on one core")
    default.close()
    return replace(config, proxy=_telemetry(config.proxy, default))


def _telemetry(base: ProxySettings, item: Fields) -> ProxySettings:
    """`tracing` and `accessLog` of a ProxyConfig over the settings so far; what it does not say stays as it is."""
    for step in (_tracing, _log):
        base = item.reader.attempt(lambda step=step, base=base: step(base, item)) or base  # type: ignore[misc]
    return base


def _tracing(base: ProxySettings, item: Fields) -> ProxySettings:
    tracing = item.object("tracing")
    if tracing is None:
        return base
    sampling = tracing.number("sampling", 0, 100)
    otlp = tracing.text("otlp", base.otlp)
    if otlp:
        host_port(otlp, tracing.at("otlp"))
    tracing.close()
    return replace(base, otlp=otlp, sampling_percent=base.sampling_percent if sampling is None else sampling)


def _log(base: ProxySettings, item: Fields) -> ProxySettings:
    log = item.object("accessLog")
    if log is None:
        return base
    is_json = log.one_of("format", {"JSON": True, "TEXT": False}, base.access_log_json)
    path = log.text("path", base.access_log_path)
    log.close()
    return replace(base, access_log_json=is_json, access_log_path=path)


def _egress(item: Fields, config: MeshConfig) -> MeshConfig:
    policy = item.object("outboundTrafficPolicy")
    if policy is None:
        return config
    registry_only = policy.one_of("mode", {"ALLOW_ANY": False, "REGISTRY_ONLY": True}, config.registry_only)
    policy.close()
    return replace(config, registry_only=registry_only)


def _ingress(item: Fields, config: MeshConfig) -> MeshConfig:
    selector = item.text_map("ingressSelector")
    if selector:
        config = replace(config, ingress_selector=tuple(sorted(selector.items())))
    return config


def host_port(text: str, field: str) -> tuple[str, int]:
    """Raises FieldError unless `host:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise FieldError(field, f"must be host:port, is {text!r}")
    return host.strip("[]"), int(port)


def node_settings(base: ProxySettings, proxy_config: Any) -> tuple[ProxySettings, tuple[str, ...]]:
    """The node's own `PROXY_CONFIG` metadata over the mesh's settings, and what in it could not be used."""
    if proxy_config is None:
        return base, ()
    reader = Reader(ObjectRef("ProxyConfig", "", ""))
    settings = reader.attempt(lambda: _telemetry(base, Fields(proxy_config, "PROXY_CONFIG", reader)))
    return settings or base, tuple(f"{problem.field}: {problem.message}" for problem in reader.problems)
