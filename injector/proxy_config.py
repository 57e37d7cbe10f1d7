"""ProxyConfig: what one sidecar is told at start, as the default merged with the pod's own annotation.

Field names are Istio's where it has them; the JSON is the value of TRIOMESH_PROXY_CONFIG (ARCHITECTURE.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from injector.fields import BadField, Fields

LOG_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """Effective configuration. Durations are kept as written ("45s"); sampling is percent 0..100."""

    discovery_address: str = "triomesh-control.triomesh-system.svc:15010"
    control_plane_auth_policy: str = "NONE"
    sampling_percent: float = 1.0
    otlp: str = ""
    access_log_path: str = ""
    access_log_format: str = "JSON"
    drain_duration: str = "45s"
    termination_drain_duration: str = "5s"
    concurrency: int = 1
    log_level: str = "info"
    hold_application: bool = False

    def merged(self, given: Mapping[str, Any], path: str) -> "ProxyConfig":
        """This configuration with the given fields replaced.

        Raises: BadField: an unknown field, also one of Istio's that would have no effect here, or a wrong value.
        """
        fields = Fields.of(given, path)
        tracing, log = fields.child("tracing"), fields.child("accessLog")
        result = replace(
            self,
            discovery_address=fields.string("discoveryAddress", self.discovery_address),
            control_plane_auth_policy=fields.enum("controlPlaneAuthPolicy", ("NONE",), self.control_plane_auth_policy),
            sampling_percent=tracing.number("sampling", self.sampling_percent, 0, 100),
            otlp=_or_empty(tracing, "otlp", self.otlp),
            access_log_path=_or_empty(log, "path", self.access_log_path),
            access_log_format=log.enum("format", ("JSON", "TEXT"), self.access_log_format),
            drain_duration=fields.duration("drainDuration", self.drain_duration),
            termination_drain_duration=fields.duration("terminationDrainDuration", self.termination_drain_duration),
            concurrency=fields.integer("concurrency", self.concurrency, 1, 64),
            log_level=fields.enum("logLevel", LOG_LEVELS, self.log_level),
            hold_application=fields.boolean("holdApplicationUntilProxyStarts", self.hold_application),
        )
        for part in (tracing, log, fields):
            part.done()
        return result

    def merged_yaml(self, text: str, path: str) -> "ProxyConfig":
        """`merged` with the YAML (or JSON) of an annotation. Raises: BadField."""
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise BadField(path, f"is not YAML: {' '.join(str(exc).split())}") from exc
        return self.merged(Fields.of(document, path).raw(), path)

    def to_json(self) -> dict[str, Any]:
        """The JSON document that the proxy reads."""
        return {
            "discoveryAddress": self.discovery_address,
            "controlPlaneAuthPolicy": self.control_plane_auth_policy,
            "tracing": {"sampling": self.sampling_percent, "otlp": self.otlp},
            "accessLog": {"path": self.access_log_path, "format": self.access_log_format},
            "drainDuration": self.drain_duration,
            "terminationDrainDuration": self.termination_drain_duration,
            "concurrency": self.concurrency,
            "logLevel": self.log_level,
            "holdApplicationUntilProxyStarts": self.hold_application,
        }


def _or_empty(fields: Fields, name: str, default: str) -> str:
    """A string that may be "" to say: off."""
    value = fields.raw().get(name)
    return "" if value == "" and fields.string(name, "") == "" else fields.string(name, default)
