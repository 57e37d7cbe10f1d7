"""TLS material and settings (Envoy `extensions.transport_sockets.tls.v3`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.model.match import StringMatch

FILE_CERTIFICATE = "file-cert:"
FILE_ROOTS = "file-root:"
"""Names that begin so mean files where the proxy runs, not secrets by SDS: `file-cert:CHAIN~KEY`, `file-root:ROOTS`."""
WORKLOAD_CERTIFICATE = "default"
WORKLOAD_ROOTS = "ROOTCA"
"""The proxy's own certificate and the mesh's roots (Istio's names): the proxy has them from the CA, not by ADS."""
WORKLOAD_SECRETS = frozenset((WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS))


@dataclass(frozen=True, slots=True)
class TlsCertificate:
    """PEM bytes; chain leaf first. The key never appears in repr."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """PEM roots and, if any, the subject alternative names a peer must have (one of them)."""

    roots_pem: bytes
    subject_alt_names: tuple[StringMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """An SDS resource: exactly one of certificate and trust is set."""

    name: str
    certificate: TlsCertificate | None = None
    trust: TrustBundle | None = None


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """Envoy `UpstreamTlsContext`. Names point to secrets fetched by SDS, or to files ("" = none).

    sni "" with auto_sni False sends none. system_roots: verify by the host's CA bundle. insecure: no verification.
    """

    certificate_name: str = ""
    trust_name: str = ""
    sni: str = ""
    auto_sni: bool = False
    alpn: tuple[str, ...] = ()
    subject_alt_names: tuple[StringMatch, ...] = ()
    system_roots: bool = False
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class DownstreamTls:
    """Envoy `DownstreamTlsContext`."""

    certificate_names: tuple[str, ...]
    trust_name: str = ""
    require_client_certificate: bool = False
    alpn: tuple[str, ...] = ()
    min_version: str = "1.2"
