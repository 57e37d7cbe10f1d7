"""Keys: the labels and annotations that steer injection, ours first, Istio's understood as aliases.

A key is looked up by its suffix; ours wins when both are present, and `Given` remembers which one the user wrote,
so that a message can name it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SIDECAR = ("sidecar.triomesh.io/", "sidecar.istio.io/")
PROXY = ("proxy.triomesh.io/", "proxy.istio.io/")
TEMPLATES = ("inject.triomesh.io/", "inject.istio.io/")
TRAFFIC = ("traffic.sidecar.triomesh.io/", "traffic.sidecar.istio.io/")
PROMETHEUS = ("prometheus.triomesh.io/", "prometheus.istio.io/")

NAMESPACE_INJECTION = ("triomesh-injection", "istio-injection")
REVISION = ("triomesh.io/rev", "istio.io/rev")
STATUS = "sidecar.triomesh.io/status"
OVERRIDES = "proxy.triomesh.io/overrides"
FOREIGN_STATUS = "sidecar.istio.io/status"

PROXY_CONTAINER = "triomesh-proxy"
INIT_CONTAINER = "triomesh-init"
# What Istio's users call them in their own manifests, to customise them.
CONTAINER_ALIASES = {"istio-proxy": PROXY_CONTAINER, "istio-init": INIT_CONTAINER}

CANONICAL_NAME = "service.istio.io/canonical-name"
CANONICAL_REVISION = "service.istio.io/canonical-revision"
# What clients' proxies go by: "istio" = mutual TLS is understood here. Source: Istio, pod label of the same name.
TLS_MODE = "security.istio.io/tlsMode"

# Suffixes understood below each prefix; `check_known` refuses the rest below our own, so that a typo is not silent.
_KNOWN = {
    SIDECAR: {
        "inject", "status", "nativeSidecar", "interceptionMode", "rewriteAppHTTPProbers", "proxyImage", "logLevel",
        "proxyCPU", "proxyMemory", "proxyCPULimit", "proxyMemoryLimit", "userVolume", "userVolumeMount",
    },
    PROXY: {"config", "overrides"},
    TEMPLATES: {"templates"},
    TRAFFIC: {
        "includeInboundPorts", "excludeInboundPorts", "includeOutboundPorts", "excludeOutboundPorts",
        "includeOutboundIPRanges", "excludeOutboundIPRanges", "excludeInterfaces", "kubevirtInterfaces",
    },
    PROMETHEUS: {"merge-metrics"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Given:
    """A label or annotation as the user wrote it."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value!r}"


def find(mapping: Mapping[str, str], prefixes: tuple[str, ...], suffix: str = "") -> Given | None:
    """The first of the prefixes that has this suffix, or None."""
    for prefix in prefixes:
        if (value := mapping.get(prefix + suffix)) is not None:
            return Given(prefix + suffix, value)
    return None


def unknown(annotations: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Annotations below the steering prefixes that nothing here reads.

    Returns: (ours: surely a typo, to be refused; Istio's: to be warned of, the pod works without them)
    """
    ours: list[str] = []
    foreign: list[str] = []
    for key in annotations:
        for prefixes, known in _KNOWN.items():
            for prefix, found in zip(prefixes, (ours, foreign)):
                if key.startswith(prefix) and key.removeprefix(prefix) not in known:
                    found.append(key)
    return ours, foreign
