"""Bootstrap: a proxy's environment, parsed once into what the process is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from mesh.model.addr import Address
from mesh.model.listener import AccessLog, Tracing
from mesh.model.node import Node, Role
from mesh.proxy.control_plane import ControlPlane
from mesh.proxy.identity_keeper import IdentitySettings
from mesh.proxy.observe.access_log import ISTIO_JSON, ISTIO_TEXT, OWN_JSON
from mesh.proxy.observe.telemetry import TelemetrySettings
from mesh.proxy.probes import Prober, parse_probers
from mesh.proxy.status_server import AppMetrics, parse_app_metrics

Parsed = TypeVar("Parsed")
# Where the injector mounts them.
_ROOTS = "/var/run/secrets/triomesh/root-cert.pem"
_TOKEN = "/var/run/secrets/tokens/triomesh-token"
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LOG_LEVELS = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")


class BadEnvironment(ValueError):
    """A variable is missing or malformed. The message names it."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """discovery None: no control plane (static configuration). identity None: the proxy is nobody in particular. Durations in seconds.

    state_file: where the last configuration is kept for a start without a control plane; None = nowhere.
    probers, app_metrics: the application's own probes and metrics, for the status server.
    """

    node: Node
    discovery: ControlPlane | None = None
    identity: IdentitySettings | None = None
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    drain_seconds: float = 45.0
    termination_drain_seconds: float = 5.0
    concurrency: int = 1
    log_level: str = "info"
    probers: Mapping[str, Prober] = field(default_factory=dict)
    app_metrics: AppMetrics | None = None
    state_file: Path | None = None


def read_environment(environment: Mapping[str, str], role: Role, is_static: bool = False) -> Bootstrap:
    """Args: is_static: no control plane is asked, so everything has a default.

    Raises: BadEnvironment.
    """
    config = _json_object(environment, "TRIOMESH_PROXY_CONFIG", required=not is_static)
    metadata = _json_object(environment, "TRIOMESH_METADATA", required=False)
    name = _text(environment, "POD_NAME", "proxy" if is_static else None)
    namespace = _text(environment, "POD_NAMESPACE", "default" if is_static else None)
    ip = _text(environment, "INSTANCE_IP", "127.0.0.1" if is_static else None)
    labels = metadata.get("LABELS", {})
    if not isinstance(labels, dict):
        raise BadEnvironment("TRIOMESH_METADATA: LABELS is not an object")
    metadata = {"NAME": name, "NAMESPACE": namespace, **metadata}
    node = Node(
        f"{role.value}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local",
        role,
        ip,
        name,
        namespace,
        labels,
        metadata,
    )
    reader = _Fields("TRIOMESH_PROXY_CONFIG", config)
    policy = reader.text("controlPlaneAuthPolicy", "NONE")
    if policy not in ("NONE", "MUTUAL_TLS"):
        raise BadEnvironment(f"TRIOMESH_PROXY_CONFIG: controlPlaneAuthPolicy {policy!r} is neither NONE nor MUTUAL_TLS")
    level = reader.text("logLevel", "info").lower()
    if level not in _LOG_LEVELS:
        raise BadEnvironment(f"TRIOMESH_PROXY_CONFIG: logLevel {level!r} is none of {', '.join(_LOG_LEVELS)}")
    discovery = reader.text("discoveryAddress", "")
    if not discovery and not is_static:
        raise BadEnvironment("TRIOMESH_PROXY_CONFIG: discoveryAddress is missing")
    plane: ControlPlane | None = None
    identity: IdentitySettings | None = None
    state = Path(environment["TRIOMESH_STATE_DIR"]) if environment.get("TRIOMESH_STATE_DIR") else None
    if discovery and not is_static:
        plane = ControlPlane(parse_address(discovery, "TRIOMESH_PROXY_CONFIG: discoveryAddress"))
        if policy == "MUTUAL_TLS":
            plane = replace(
                plane,
                roots=Path(environment.get("TRIOMESH_CA_ROOTS") or _ROOTS),
                token=Path(environment.get("TRIOMESH_CA_TOKEN") or _TOKEN),
            )
            account = metadata.get("SERVICE_ACCOUNT", "")
            if not isinstance(account, str):
                raise BadEnvironment(f"TRIOMESH_METADATA: SERVICE_ACCOUNT is not a string: {account!r}")
            identity = IdentitySettings(plane, namespace, account, state / "identity.pem" if state is not None else None)
    return Bootstrap(
        node,
        plane,
        identity,
        _telemetry(reader),
        reader.duration("drainDuration", 45.0),
        reader.duration("terminationDrainDuration", 5.0),
        int(reader.number("concurrency", 1.0)),
        level,
        _parsed(environment, "TRIOMESH_APP_PROBERS", parse_probers),
        _parsed(environment, "TRIOMESH_PROMETHEUS_ANNOTATIONS", parse_app_metrics),
        state / "xds.state" if state is not None else None,
    )


def parse_address(text: str, field_name: str) -> Address:
    """`host:port` or `[v6]:port`. Raises: BadEnvironment naming field_name."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadEnvironment(f"{field_name}: {text!r} is not host:port")
    return Address(host.strip("[]"), int(port))


def parse_duration(value: object, field_name: str) -> float:
    """Go's and protobuf's `45s`, `1m30s`, `100ms`; seconds. Raises: BadEnvironment naming field_name."""
    text = str(value)
    total, number = 0.0, ""
    i = 0
    while i < len(text):
        if text[i].isdigit() or text[i] == ".":
            number += text[i]
            i += 1
            continue
        unit = text[i : i + 2] if text[i : i + 2] == "ms" else text[i]
        if unit not in _DURATION_UNITS or not number or number.count(".") > 1:
            raise BadEnvironment(f"{field_name}: {text!r} is not a duration like 45s or 1m30s")
        total += float(number) * _DURATION_UNITS[unit]
        number = ""
        i += len(unit)
    if number or not text:
        raise BadEnvironment(f"{field_name}: {text!r} is not a duration like 45s or 1m30s")
    return total


class _Fields:
    """Typed access to one JSON object; errors name the variable and the field."""

    def __init__(self, variable: str, values: Mapping[str, Any]) -> None:
        self.variable = variable
        self._values = values

    def text(self, name: str, default: str) -> str:
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise BadEnvironment(f"{self.variable}: {name} is not a string: {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise BadEnvironment(f"{self.variable}: {name} is not a number of at least 0: {value!r}")
        return float(value)

    def duration(self, name: str, default: float) -> float:
        value = self._values.get(name)
        return default if value is None else parse_duration(value, f"{self.variable}: {name}")

    def object(self, name: str) -> _Fields:
        value = self._values.get(name, {})
        if not isinstance(value, dict):
            raise BadEnvironment(f"{self.variable}: {name} is not an object: {value!r}")
        return _Fields(f"{self.variable}: {name}", value)

    def __bool__(self) -> bool:
        return bool(self._values)


def _telemetry(config: _Fields) -> TelemetrySettings:
    tracing = config.object("tracing")
    sampling = tracing.number("sampling", 1.0)
    if sampling > 100.0:
        raise BadEnvironment(f"{tracing.variable}: sampling is a percentage, not {sampling:g}")
    log = config.object("accessLog")
    path = log.text("path", "")
    encoding = log.text("format", "JSON")
    if encoding not in ("JSON", "TEXT"):
        raise BadEnvironment(f"{log.variable}: format {encoding!r} is neither JSON nor TEXT")
    default_log = None
    if path:
        default_log = AccessLog(path, json=(*ISTIO_JSON, *OWN_JSON)) if encoding == "JSON" else AccessLog(path, text=ISTIO_TEXT)
    return TelemetrySettings(
        tracing.text("otlp", ""), Tracing(random_sampling_percent=sampling) if tracing else None, default_log
    )


def _text(environment: Mapping[str, str], name: str, default: str | None) -> str:
    value = environment.get(name, "") or default
    if value is None:
        raise BadEnvironment(f"{name} is not set (the injector sets it from the downward API)")
    return value


def _parsed(environment: Mapping[str, str], name: str, parse: Callable[[str], Parsed]) -> Parsed:
    try:
        return parse(environment.get(name, ""))
    except ValueError as exc:
        raise BadEnvironment(f"{name}: {exc}") from exc


def _json_object(environment: Mapping[str, str], name: str, required: bool) -> dict[str, Any]:
    text = environment.get(name, "")
    if not text:
        if required:
            raise BadEnvironment(f"{name} is not set (the injector writes it)")
        return {}
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise BadEnvironment(f"{name} is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise BadEnvironment(f"{name} is not a JSON object")
    return value
