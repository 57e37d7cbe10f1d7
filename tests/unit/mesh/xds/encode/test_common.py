import math

import pytest

from mesh.model.addr import Address, Cidr
from mesh.model.match import StringKind, StringMatch
from mesh.model.origin import Origin
from mesh.xds.encode import common
from mesh.xds.encode.common import Path
from mesh.xds.error import EncodeError

PATH = Path("r").at("routes", 3).at("action")


def field(call) -> str:
    with pytest.raises(EncodeError) as caught:
        call()
    assert caught.value.resource == "r"
    return caught.value.field


def test_path_reads_like_the_model():
    assert str(PATH.error("timeout_seconds", "no")) == "r: routes[3].action.timeout_seconds: no"


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan, 1e15])
def test_durations_that_are_none(seconds):
    assert field(lambda: common.duration(seconds, PATH, "t")) == "routes[3].action.t"


def test_duration_keeps_nanoseconds():
    made = common.duration(10.025, PATH, "t")
    assert (made.seconds, made.nanos) == (10, 25_000_000)


def test_fraction_is_in_millionths():
    assert common.fraction(0.0001, PATH, "p").numerator == 1
    assert common.fraction(100, PATH, "p").numerator == 1_000_000


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan])
def test_percentages_are_bounded(percent):
    assert field(lambda: common.percent(percent, PATH, "p")) == "routes[3].action.p"


@pytest.mark.parametrize("value", [Address("127.0.0.1", 65536), Address("", 80)])
def test_bad_addresses_are_refused(value):
    assert field(lambda: common.address(value, PATH, "address")).startswith("routes[3].action.address")


def test_cidr_keeps_a_zero_prefix():
    assert common.cidr(Cidr.parse("0.0.0.0/0")).prefix_len.value == 0


def test_regex_cannot_ignore_case():
    assert field(lambda: common.string_match(StringMatch(StringKind.REGEX, "a", True), PATH, "m"))


def test_only_exact_may_be_empty():
    assert common.string_match(StringMatch(StringKind.EXACT, ""), PATH, "m").exact == ""
    assert field(lambda: common.string_match(StringMatch(StringKind.PREFIX, ""), PATH, "m"))


def test_no_metadata_is_no_message():
    assert common.origin_metadata(None) is None


def test_origin_travels_under_its_own_name():
    metadata = common.origin_metadata(Origin("VirtualService", "default", "reviews", "http[0]"))
    assert dict(metadata.filter_metadata["triomesh.io"]) == {
        "kind": "VirtualService",
        "namespace": "default",
        "name": "reviews",
        "rule": "http[0]",
    }
