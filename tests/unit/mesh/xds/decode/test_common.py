import envoy.config.cluster.v3.cluster_pb2 as cluster_pb
import envoy.type.v3.percent_pb2 as percent_pb
import pytest
from envoy.config.core.v3 import base_pb2 as base_pb

from mesh.xds.decode.common import Reader, read_cidr, read_origin
from mesh.xds.error import DecodeError


def test_unknown_field_is_named_with_its_path():
    message = cluster_pb.Cluster(name="c", alt_stat_name="x")
    with pytest.raises(DecodeError) as caught:
        Reader(message, "c", "static[0]", ("name",))
    assert (caught.value.resource, caught.value.field) == ("c", "static[0].alt_stat_name")


def test_harmless_field_is_skipped():
    Reader(cluster_pb.Cluster(name="c", alt_stat_name="x"), "c", "", ("name",), ("alt_stat_name",))


def test_children_carry_their_index():
    message = cluster_pb.Cluster()
    message.health_checks.add()
    message.health_checks.add().timeout.seconds = 1
    with pytest.raises(DecodeError) as caught:
        Reader(message, "c", "", ("health_checks",)).children("health_checks")
    assert caught.value.field == "health_checks[1].timeout"


def test_negative_duration_is_refused():
    message = cluster_pb.Cluster()
    message.connect_timeout.seconds = -1
    with pytest.raises(DecodeError, match="negative"):
        Reader(message, "c", "", ("connect_timeout",)).seconds("connect_timeout", 5.0)


@pytest.mark.parametrize(("denominator", "percent"), [("HUNDRED", 50.0), ("TEN_THOUSAND", 0.5), ("MILLION", 0.005)])
def test_fractions_of_every_denominator(denominator, percent):
    message = base_pb.RuntimeFractionalPercent(
        default_value=percent_pb.FractionalPercent(numerator=50, denominator=denominator)
    )
    assert Reader(message, "c", "", ("default_value",)).fraction("default_value", 0.0) == percent


def test_bad_cidr_is_refused():
    from envoy.config.core.v3 import address_pb2 as address_pb

    with pytest.raises(DecodeError):
        read_cidr(Reader(address_pb.CidrRange(address_prefix="nonsense"), "c", "x", ("address_prefix",)))


def test_origin_of_strangers_is_none():
    assert read_origin({"triomesh.io": {"meshed": True}}) is None
    assert read_origin({}) is None
