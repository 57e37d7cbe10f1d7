"""Resources from their proto3 JSON form, as other control planes' documentation writes them."""

from __future__ import annotations

from typing import Any

import envoy.config.trace.v3.zipkin_pb2
import envoy.extensions.filters.http.grpc_stats.v3.config_pb2
import envoy.extensions.filters.listener.original_src.v3.original_src_pb2  # noqa: F401
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from mesh.xds.decode import decode_message, message_class
from mesh.xds.dump import load_types
from mesh.xds.encode import encode_message
from mesh.xds.error import DecodeError, EncodeError
from mesh.xds.kind import Kind
from mesh.xds.references import Model

TYPE = "type.googleapis.com/envoy."
ADS = {"ads": {}, "resource_api_version": "V3"}
ROUTER = {"name": "router", "typed_config": {"@type": TYPE + "extensions.filters.http.router.v3.Router"}}


def from_json(kind: Kind, document: dict[str, Any]) -> Model:
    load_types()
    return decode_message(kind, ParseDict(document, message_class(kind)()))


def to_json(value: Model) -> dict[str, Any]:
    load_types()
    return MessageToDict(encode_message(value), preserving_proto_field_name=True)


def refused(kind: Kind, document: dict[str, Any]) -> str:
    """The field path that decoding complains about."""
    with pytest.raises(DecodeError) as caught:
        from_json(kind, document)
    assert caught.value.resource == document.get("name", document.get("cluster_name", ""))
    return caught.value.field


def unencodable(value: Model) -> str:
    """The field path that encoding complains about."""
    with pytest.raises(EncodeError) as caught:
        encode_message(value)
    return caught.value.field
