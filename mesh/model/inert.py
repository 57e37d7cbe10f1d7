"""Inert kinds: objects that an API server stores for us and that have no effect on anything, and what to use instead.

The control plane says so in an object's status, the injector's validating webhook when it is applied. Source of
groups, kinds and versions: Istio's CRDs, 1.24.
"""

from __future__ import annotations

from dataclasses import dataclass

REASON = "NotSupported"
NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"


@dataclass(frozen=True, slots=True)
class InertKind:
    """One kind. versions: best first. message: what does not happen, and what does the job instead.

    is_security: somebody may rely on it being enforced.
    """

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...]
    message: str
    is_security: bool = False


INERT_KINDS = (
    InertKind(
        SECURITY,
        "AuthorizationPolicy",
        "authorizationpolicies",
        ("v1", "v1beta1"),
        "has no effect: no proxy enforces it and every request is let through; use NetworkPolicies, or check in the application",
        is_security=True,
    ),
    InertKind(
        SECURITY,
        "RequestAuthentication",
        "requestauthentications",
        ("v1", "v1beta1"),
        "has no effect: no proxy looks at tokens and invalid ones are let through; validate them in the application",
        is_security=True,
    ),
    InertKind(
        NETWORKING,
        "WorkloadEntry",
        "workloadentries",
        ("v1", "v1beta1", "v1alpha3"),
        "has no effect: no traffic is sent to it; write the address under spec.endpoints of a ServiceEntry",
    ),
    InertKind(
        NETWORKING,
        "WorkloadGroup",
        "workloadgroups",
        ("v1", "v1beta1", "v1alpha3"),
        "has no effect: virtual machines do not join the mesh; write their addresses under spec.endpoints of a ServiceEntry",
    ),
    InertKind(
        NETWORKING,
        "EnvoyFilter",
        "envoyfilters",
        ("v1alpha3",),
        "has no effect: the sidecar is no Envoy; use VirtualService and DestinationRule as far as they reach",
    ),
    InertKind(
        NETWORKING,
        "ProxyConfig",
        "proxyconfigs",
        ("v1beta1",),
        "has no effect; use the pod's annotation proxy.triomesh.io/config, or defaultConfig of the mesh configuration",
    ),
    InertKind(
        "extensions.istio.io",
        "WasmPlugin",
        "wasmplugins",
        ("v1alpha1",),
        "has no effect: the sidecar runs no WebAssembly, so whatever the plugin checks is not checked",
        is_security=True,
    ),
    InertKind(
        "telemetry.istio.io",
        "Telemetry",
        "telemetries",
        ("v1", "v1alpha1"),
        "has no effect; set access log and tracing in the mesh configuration (ConfigMap triomesh), for one pod by proxy.triomesh.io/config",
    ),
)
_BY_NAME = {(item.group, item.kind): item for item in INERT_KINDS}


def without_effect(group: str, kind: str) -> str:
    """What to tell whoever applies an object of this kind; "" when it does something."""
    inert = _BY_NAME.get((group, kind))
    return inert.message if inert is not None else ""
