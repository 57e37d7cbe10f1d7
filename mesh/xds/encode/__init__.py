"""Model to Envoy v3 protobufs. Start at `Encoder.bundle`; `encode_resource` is one value without the memory.

One module per resource type (cluster, endpoint, listener + http_manager, route + action + policy, tls); each is
imported when the first value of its type comes along.
"""

from __future__ import annotations

from mesh.xds.encode.encoder import Encoder, encode_message, encode_resource

__all__ = ["Encoder", "encode_message", "encode_resource"]
