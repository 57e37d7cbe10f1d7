import envoy.config.cluster.v3.cluster_pb2 as cluster_pb
import pytest
from google.protobuf.json_format import ParseDict

from mesh.model.cluster import Protocol
from mesh.xds.decode.common import Reader
from mesh.xds.decode.http_options import HttpOptions, read_http_options
from mesh.xds.dump import load_types
from mesh.xds.error import DecodeError

NAME = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def options(**fields) -> HttpOptions:
    load_types()
    document = {"typed_extension_protocol_options": {NAME: {"@type": f"type.googleapis.com/{NAME}", **fields}}}
    known = ("typed_extension_protocol_options",)
    return read_http_options(Reader(ParseDict(document, cluster_pb.Cluster()), "c", "", known))


@pytest.mark.parametrize(
    ("fields", "protocol"),
    [
        ({}, Protocol.HTTP1),
        ({"explicit_http_config": {"http_protocol_options": {}}}, Protocol.HTTP1),
        ({"explicit_http_config": {"http2_protocol_options": {}}}, Protocol.HTTP2),
        ({"use_downstream_protocol_config": {"http2_protocol_options": {}}}, Protocol.DOWNSTREAM),
    ],
)
def test_protocol(fields, protocol):
    assert options(**fields).protocol is protocol


def test_limits_of_a_connection():
    made = options(
        common_http_protocol_options={
            "idle_timeout": "60s",
            "max_requests_per_connection": 7,
            "max_connection_duration": "5s",
        },
        upstream_http_protocol_options={"auto_sni": True, "auto_san_validation": True},
    )
    assert (made.idle_timeout, made.max_requests, made.max_duration, made.auto_sni) == (60.0, 7, 5.0, True)


def test_http3_is_refused():
    with pytest.raises(DecodeError, match="http3_protocol_options"):
        options(explicit_http_config={"http3_protocol_options": {}})
