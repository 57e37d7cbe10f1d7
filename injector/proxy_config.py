"""ProxyConfig: what one sidecar is told at start, as the default merged with the pod's own annotation.

Field names are Istio's where it has them; the JSON is the value of TRIOMESH_PROXY_CONFIG (ARCHITECTURE.md). Sampling
and access log that nobody gave are left out of it: the mesh's own hold then, which the control plane sends live.

The control plane speaks TLS on one port and plaintext on another, so port and policy belong together: who gives one of
them has said the other, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import yaml

from injector.fields import BadField, Fields

T = TypeVar("T")
PLAINTEXT, MUTUAL_TLS = "NONE", "MUTUAL_TLS"
_PORTS = {PLAINTEXT: "15010", MUTUAL_TLS: "15012"}
LOG_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """Effective configuration. Durations are kept as written ("45s"); sampling is percent 0..100.

    sampling_percent, otlp, access_log_*: None = not given here: the mesh's hold, now and when they change.
    mesh_otlp: the mesh's collector, which the process connects to from its start on unless `otlp` says otherwise.
    """

    discovery_address: str = "triomesh-control.triomesh-system.svc:15012"
    control_plane_auth_policy: str = MUTUAL_TLS
    sampling_percent: float | None = None
    otlp: str | None = None
    access_log_path: str | None = None
    access_log_format: str | None = None
    drain_duration: str = "45s"
    termination_drain_duration: str = "5s"
    concurrency: int = 1
    log_level: str = "info"
    hold_application: bool = False
    mesh_otlp: str = ""

    @property
    def has_identity(self) -> bool:
        """Whether the proxy gets a certificate from the mesh's CA."""
        return self.control_plane_auth_policy == MUTUAL_TLS

    def merged(self, given: Mapping[str, Any], path: str) -> "ProxyConfig":
        """This configuration with the given fields replaced.

        Raises: BadField: an unknown field, also one of Istio's that would have no effect here, or a wrong value.
        """
        fields = Fields.of(given, path)
        tracing, log = fields.child("tracing"), fields.child("accessLog")
        address, policy = self._control_plane(fields)
        result = replace(
            self,
            discovery_address=address,
            control_plane_auth_policy=policy,
            sampling_percent=_given(tracing, "sampling", self.sampling_percent, lambda name: tracing.number(name, 0, 0, 100)),
            otlp=_given(tracing, "otlp", self.otlp, lambda name: tracing.string(name, "")),
            access_log_path=_given(log, "path", self.access_log_path, lambda name: log.string(name, "")),
            access_log_format=_given(log, "format", self.access_log_format, lambda name: log.enum(name, ("JSON", "TEXT"), "JSON")),
            drain_duration=fields.duration("drainDuration", self.drain_duration),
            termination_drain_duration=fields.duration("terminationDrainDuration", self.termination_drain_duration),
            concurrency=fields.integer("concurrency", self.concurrency, 0, 64),
            log_level=fields.enum("logLevel", LOG_LEVELS, self.log_level),
            hold_application=fields.boolean("holdApplicationUntilProxyStarts", self.hold_application),
        )
        for part in (tracing, log, fields):
            part.done()
        return result

    def _control_plane(self, fields: Fields) -> tuple[str, str]:
        """Address and policy, of which one may follow from the other by the control plane's own ports."""
        address = fields.string("discoveryAddress", self.discovery_address)
        policy = fields.enum("controlPlaneAuthPolicy", tuple(_PORTS), self.control_plane_auth_policy)
        host, _, port = address.rpartition(":")
        if port not in _PORTS.values() or port == _PORTS[policy]:
            return address, policy
        if not fields.has("discoveryAddress"):
            return f"{host}:{_PORTS[policy]}", policy
        if not fields.has("controlPlaneAuthPolicy"):
            return address, next(name for name, number in _PORTS.items() if number == port)
        raise BadField(
            fields.path("controlPlaneAuthPolicy"), f"{policy} and discoveryAddress {address} contradict each other: that port is for {_other(policy)}"
        )

    def merged_yaml(self, text: str, path: str) -> "ProxyConfig":
        """`merged` with the YAML (or JSON) of an annotation. Raises: BadField."""
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise BadField(path, f"is not YAML: {' '.join(str(exc).split())}") from exc
        return self.merged(Fields.of(document, path).raw(), path)

    def to_json(self) -> dict[str, Any]:
        """The JSON document that the proxy reads when it starts."""
        document = self.own_json()
        if self.otlp is None and self.mesh_otlp:
            document["tracing"] = {**document.get("tracing", {}), "otlp": self.mesh_otlp}
        return document

    def own_json(self) -> dict[str, Any]:
        """The same without what is the mesh's: the control plane reads it as the node's own wish (`PROXY_CONFIG`)."""
        telemetry: dict[str, dict[str, Any]] = {
            "tracing": {"sampling": self.sampling_percent, "otlp": self.otlp},
            "accessLog": {"path": self.access_log_path, "format": self.access_log_format},
        }
        given = {part: {name: value for name, value in fields.items() if value is not None} for part, fields in telemetry.items()}
        return {
            "discoveryAddress": self.discovery_address,
            "controlPlaneAuthPolicy": self.control_plane_auth_policy,
            **{part: fields for part, fields in given.items() if fields},
            "drainDuration": self.drain_duration,
            "terminationDrainDuration": self.termination_drain_duration,
            "concurrency": self.concurrency,
            "logLevel": self.log_level,
            "holdApplicationUntilProxyStarts": self.hold_application,
        }


def concurrency_warning(given: int) -> str:
    """Why another concurrency than 1 is as good as none; "" for 1."""
    return "" if given == 1 else f"concurrency {given} has no effect: a proxy of this version is one process on one core"


def _other(policy: str) -> str:
    return MUTUAL_TLS if policy == PLAINTEXT else PLAINTEXT


def _given(fields: Fields, name: str, before: T | None, read: Callable[[str], T]) -> T | None:
    """What the field says; `before` when it is absent or null."""
    value = read(name)
    return value if fields.has(name) else before
