"""The resource types of xDS v3 that we speak, and the order in which they are pushed."""

from __future__ import annotations

from enum import Enum

_PREFIX = "type.googleapis.com/"


class Kind(Enum):
    """A resource type; the value is its v3 type URL."""

    CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
    ENDPOINT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
    ROUTE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
    SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

    @property
    def label(self) -> str:
        """The short name used in metrics and messages: cds, eds, lds, rds, sds."""
        return _LABELS[self]

    @property
    def is_full_state(self) -> bool:
        """A state-of-the-world response of this type holds everything: what is left out is deleted (xDS, "SotW")."""
        return self is Kind.CLUSTER or self is Kind.LISTENER


_LABELS = {Kind.CLUSTER: "cds", Kind.ENDPOINT: "eds", Kind.LISTENER: "lds", Kind.ROUTE: "rds", Kind.SECRET: "sds"}

PUSH_ORDER = (Kind.CLUSTER, Kind.ENDPOINT, Kind.LISTENER, Kind.ROUTE, Kind.SECRET)
"""Make before break: what is referenced travels before what refers to it."""

BY_URL = {kind.value: kind for kind in Kind}


class Variant(Enum):
    """The two forms of the ADS stream; the value is the gRPC method."""

    SOTW = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
