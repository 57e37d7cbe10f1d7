"""Mesh TLS: when and how a client's proxy encrypts towards a service with the certificates that the mesh gives out.

Automatic: towards every endpoint that offers it, where no DestinationRule says `tls`. `ISTIO_MUTUAL` insists on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mesh.control.kube import istio
from mesh.control.kube.objects import PortProtocol
from mesh.control.translate.peers import MESH_TLS, NOBODY, Key, Peers
from mesh.control.translate.registry import MeshPort, MeshService, Reach
from mesh.model.cluster import Cluster, Discovery, LbPolicy, TlsMatch
from mesh.model.endpoint import LoadAssignment
from mesh.model.match import StringKind, StringMatch
from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, UpstreamTls

# The client's proxy leaves the first one out where it sends opaque bytes.
_HTTP_ALPN = ("istio-http/1.1", "istio")
_OPAQUE_ALPN = ("istio",)
_OPAQUE = (PortProtocol.TCP, PortProtocol.TLS)


@dataclass(frozen=True, slots=True)
class MeshTls:
    """What clients of one kind do. has_identity: they have a certificate. is_automatic: `enableAutoMtls`."""

    has_identity: bool = False
    is_automatic: bool = True
    peers: Mapping[Key, Peers] = field(default_factory=dict)

    def secured(self, cluster: Cluster, service: MeshService, port: MeshPort, tls: istio.ClientTls | None) -> Cluster:
        """The cluster with mesh TLS where that is due. Args: tls: of the DestinationRule; other modes are not ours."""
        peers = self.peers.get((service.host, port.number), NOBODY)
        is_demanded = tls is not None and tls.mode is istio.TlsMode.ISTIO_MUTUAL
        if not self.has_identity:
            # Who cannot encrypt does not talk in the clear to a server that refuses it anyway.
            return refused(cluster) if is_demanded and peers.refuses_plaintext else cluster
        if is_demanded:
            return replace(cluster, tls=_upstream(cluster, port, service, peers, tls))
        if tls is not None or not self.is_automatic or not _is_ours(service):
            return cluster
        upstream = _upstream(cluster, port, service, peers, None)
        if cluster.discovery is Discovery.ORIGINAL_DST:
            # Which endpoint it will be is not known, so all of them must take it (Istio: BestEffortInferServiceMTLSMode).
            return replace(cluster, tls=upstream) if peers.offers_tls else cluster
        matches = (TlsMatch(f"tlsMode-{MESH_TLS}", MESH_TLS, upstream), TlsMatch("tlsMode-disabled", "", None))
        return replace(cluster, tls_matches=matches)


def refused(cluster: Cluster) -> Cluster:
    """Nobody to send to, rather than the wrong way of sending."""
    return replace(
        cluster, discovery=Discovery.STATIC, assignment=LoadAssignment(cluster.name), lb=LbPolicy.LEAST_REQUEST
    )


def _is_ours(service: MeshService) -> bool:
    is_alias = service.is_kubernetes and service.reach is Reach.DNS
    return not service.is_external and not is_alias


def _upstream(
    cluster: Cluster, port: MeshPort, service: MeshService, peers: Peers, tls: istio.ClientTls | None
) -> UpstreamTls:
    names = tls.subject_alt_names if tls is not None else ()
    return UpstreamTls(
        certificate_name=WORKLOAD_CERTIFICATE,
        trust_name=WORKLOAD_ROOTS,
        sni=tls.sni if tls is not None and tls.sni else f"outbound_.{port.number}_.{cluster.subset}_.{service.host}",
        alpn=_OPAQUE_ALPN if port.protocol in _OPAQUE else _HTTP_ALPN,
        subject_alt_names=names or tuple(StringMatch(StringKind.EXACT, account) for account in peers.accounts),
    )
