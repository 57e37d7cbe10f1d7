"""Whatever happens on the way, a client ends with the last snapshot, and nothing is ever broken before it is made."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.model.cluster import Discovery
from mesh.xds.decode import message_class
from mesh.xds.encode import Encoder
from mesh.xds.kind import Kind, Variant
from mesh.xds.references import references
from mesh.xds.resource import Bundle, Resource
from tests.support.xds_wire import (
    Wire,
    assignment,
    cluster,
    http_listener,
    route_config,
    snapshot,
    tcp_listener,
)

NAMES = st.integers(0, 3)


@st.composite
def snapshots(draw):
    """Closed under references: every cluster that a listener or route names exists, every route config is named."""
    clusters = draw(
        st.dictionaries(
            NAMES, st.tuples(st.integers(1, 2), st.sampled_from([Discovery.EDS, Discovery.STATIC])), min_size=1
        )
    )
    values = [cluster(f"c{i}", timeout, discovery) for i, (timeout, discovery) in clusters.items()]
    values += [
        assignment(f"c{i}", draw(st.integers(1, 2)))
        for i, (_, discovery) in clusters.items()
        if discovery is Discovery.EDS
    ]
    some = st.lists(st.sampled_from([f"c{i}" for i in clusters]), min_size=1, max_size=2)
    routes = set()
    for i in draw(st.sets(NAMES)):
        if draw(st.booleans()):
            routes.add(name := f"r{draw(NAMES)}")
            values.append(http_listener(f"l{i}", name, draw(st.integers(1, 2))))
        else:
            values.append(tcp_listener(f"l{i}", *draw(some)))
    return snapshot(*values, *[route_config(name, *draw(some)) for name in sorted(routes)])


STEPS = st.lists(
    st.one_of(
        snapshots(),
        st.sampled_from(["to_client", "to_client", "to_server", "to_server", "reconnect", "drain"]),
    ),
    max_size=30,
)
SETTINGS = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def apply(wire: Wire, step, bundles) -> None:
    match step:
        case "to_client":
            wire.deliver_to_client()
        case "to_server":
            wire.deliver_to_server()
        case "reconnect":
            wire.connect()
        case "drain":
            wire.drain()
        case _:
            wire.publish(bundles(step))


@pytest.mark.parametrize("variant", Variant)
@SETTINGS
@given(steps=STEPS, last=snapshots())
def test_client_ends_with_the_last_snapshot(variant, steps, last):
    encoder = Encoder()
    wire = Wire(variant)
    for step in steps:
        apply(wire, step, encoder.bundle)
    wire.publish(encoder.bundle(last))
    wire.drain()
    assert wire.client.snapshot == last
    assert wire.client.complete
    assert wire.stream.is_settled
    assert {line.status.name for line in wire.stream.status()} <= {"SYNCED"}


@pytest.mark.parametrize("variant", Variant)
@SETTINGS
@given(steps=STEPS, last=snapshots())
def test_no_reference_dangles_on_the_way(variant, steps, last):
    encoder = Encoder()
    wire = Wire(variant)
    for step in [*steps, last, *["to_client", "to_server"] * 60]:
        if step == "reconnect" and variant is Variant.SOTW:
            # A SotW server cannot know what a client that comes back still has in force.
            continue
        apply(wire, step, encoder.bundle)
        in_force = wire.client.snapshot
        for value in (*in_force.listeners.values(), *in_force.routes.values()):
            for kind, name in references(value):
                if kind is Kind.CLUSTER:
                    assert name in in_force.clusters, f"{value.name} names {name}"


@pytest.mark.parametrize("variant", Variant)
@SETTINGS
@given(
    steps=STEPS, last=snapshots(), bad=st.sets(st.sampled_from(["c0", "c1", "l0", "l1"]), min_size=1)
)
def test_bad_resources_stop_nobody_else(variant, steps, last, bad):
    encoder = Encoder()
    wire = Wire(variant)

    def spoilt(value) -> Bundle:
        return spoil(encoder.bundle(value), bad)

    for step in steps:
        apply(wire, step, spoilt)
    wire.publish(spoilt(last))
    wire.drain()
    for kind, wanted in ((Kind.CLUSTER, last.clusters), (Kind.LISTENER, last.listeners)):
        have = wire.client.snapshot.clusters if kind is Kind.CLUSTER else wire.client.snapshot.listeners
        assert {name: value for name, value in wanted.items() if name not in bad} == have
        refused = {name for name in wanted if name in bad}
        assert {name for what, name in wire.client.rejections if what is kind} == refused
        assert {
            line.name for line in wire.stream.status() if line.kind is kind and line.status.name == "ERROR"
        } == refused
    # The cause removed, it converges to the very same.
    wire.publish(encoder.bundle(last))
    wire.drain()
    assert wire.client.snapshot == last
    assert not wire.client.rejections


def spoil(bundle: Bundle, bad: set[str]) -> Bundle:
    """The same with unsupported content in the resources named: each keeps its name and its references."""
    return Bundle(
        {
            kind: {
                name: Resource(kind, name, "bad" + resource.version, unsupported(kind, resource), resource.refs)
                if name in bad and kind in (Kind.CLUSTER, Kind.LISTENER)
                else resource
                for name, resource in group.items()
            }
            for kind, group in bundle.resources.items()
        }
    )


def unsupported(kind: Kind, resource: Resource) -> bytes:
    message = message_class(kind).FromString(resource.body)
    if kind is Kind.CLUSTER:
        message.health_checks.add().timeout.seconds = 1
    else:
        message.transparent.value = True
    return message.SerializeToString(deterministic=True)
