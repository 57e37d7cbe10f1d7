"""Envoy v3 protobufs to model. Strict: see `mesh.xds.error.DecodeError`."""

from __future__ import annotations

from mesh.model.cluster import Cluster
from mesh.model.endpoint import LoadAssignment
from mesh.model.listener import Listener
from mesh.model.route import RouteConfig
from mesh.model.secret import Secret
from mesh.xds.kind import Kind

Model = Cluster | LoadAssignment | Listener | RouteConfig | Secret


def decode(kind: Kind, body: bytes) -> Model:
    """One resource. Raises: DecodeError."""
    raise NotImplementedError
