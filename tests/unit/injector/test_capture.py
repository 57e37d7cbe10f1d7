import pytest

from injector.capture import BadCapture, Capture, from_annotations, parse_arguments


def given(**values: str) -> dict[str, tuple[str, str]]:
    return {name: (f"traffic.sidecar.istio.io/{name}", text) for name, text in values.items()}


def test_no_annotations_capture_everything_but_the_proxys_own_ports() -> None:
    assert from_annotations({}) == Capture()
    assert Capture().include_cidrs is None
    assert Capture().exclude_inbound_ports == (15090, 15021, 15020)


def test_lists_are_read_in_order_without_repetition_and_spaces() -> None:
    wanted = from_annotations(given(excludeOutboundPorts="22, 23,22", includeOutboundIPRanges="10.1.2.3/8,fd00::/8", excludeInterfaces="eth1"))
    assert wanted.exclude_outbound_ports == (22, 23)
    assert wanted.include_cidrs == ("10.0.0.0/8", "fd00::/8")
    assert wanted.exclude_interfaces == ("eth1",)


def test_excluded_inbound_ports_are_added_to_the_proxys_own() -> None:
    assert from_annotations(given(excludeInboundPorts="8443,15021")).exclude_inbound_ports == (15090, 15021, 15020, 8443)
    assert from_annotations(given(excludeInboundPorts="")).exclude_inbound_ports == (15090, 15021, 15020)


def test_empty_include_captures_nothing_and_star_everything() -> None:
    assert from_annotations(given(includeInboundPorts="")).include_inbound_ports == ()
    assert from_annotations(given(includeInboundPorts="*")).include_inbound_ports is None
    assert from_annotations(given(includeOutboundIPRanges="")).include_cidrs == ()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("excludeOutboundPorts", "22,x", "'x' is not a port (1..65535)"),
        ("excludeOutboundPorts", "0", "'0' is not a port"),
        ("includeInboundPorts", "65536", "'65536' is not a port"),
        ("includeInboundPorts", "²", "'²' is not a port"),
        ("excludeOutboundPorts", "*", '"*" is not allowed here'),
        ("includeOutboundIPRanges", "10.0.0.0/33", "'10.0.0.0/33' is not a CIDR"),
        ("excludeOutboundIPRanges", "example.com", "'example.com' is not a CIDR"),
        ("excludeInterfaces", "a-name-longer-than-15", "is not an interface name"),
        ("excludeInterfaces", "e;rm -rf", "is not an interface name"),
    ],
)
def test_bad_value_names_annotation_value_and_problem(name: str, value: str, problem: str) -> None:
    with pytest.raises(BadCapture) as caught:
        from_annotations(given(**{name: value}))
    assert f"annotation traffic.sidecar.istio.io/{name}={value!r}" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "capture",
    [
        Capture(),
        Capture(include_cidrs=("10.0.0.0/8",), exclude_cidrs=("10.1.0.0/16",), include_inbound_ports=(80, 443)),
        Capture(include_cidrs=(), include_inbound_ports=(), include_outbound_ports=(5432,), exclude_outbound_ports=(22,)),
        Capture(exclude_interfaces=("eth1",), virtual_interfaces=("vnet0", "vnet+"), uid=7, gid=7),
    ],
)
def test_arguments_read_back_to_the_same_capture(capture: Capture) -> None:
    assert parse_arguments(capture.arguments()) == capture


def test_default_arguments_are_those_of_istio() -> None:
    assert " ".join(Capture().arguments()) == "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020"
