"""decode(encode(x)) == x for every resource type, and equal values have equal bytes."""

from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.model.endpoint import LoadAssignment
from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.route import ForwardAction, FullRewrite, PrefixRewrite, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.proxy.rewrite import compile_path_rewrite
from mesh.xds.decode import decode
from mesh.xds.encode import encode_resource
from mesh.xds.kind import Kind
from tests.support import xds_models as models

STRATEGIES = {
    Kind.CLUSTER: models.clusters(),
    Kind.ENDPOINT: models.assignments,
    Kind.LISTENER: models.listeners,
    Kind.ROUTE: models.route_configs,
    Kind.SECRET: models.secrets,
}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_decode_inverts_encode(kind, data):
    value = data.draw(STRATEGIES[kind])
    name = value.cluster_name if isinstance(value, LoadAssignment) else value.name
    resource = encode_resource(kind, name, value)
    assert decode(kind, resource.body) == value
    again = encode_resource(kind, name, copy.deepcopy(value))
    assert (again.body, again.version, again.refs) == (resource.body, resource.version, resource.refs)


PREFIXES = st.sampled_from(["/", "/z", "/z/", "//", "z", "/a.b/", "/+"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from([PathKind.EXACT, PathKind.PREFIX, PathKind.SEGMENT_PREFIX]),
    value=st.sampled_from(["/a", "/a.b", "/a+(b", "/a/b"]),
    ignore_case=st.booleans(),
    rewrite=st.builds(PrefixRewrite, PREFIXES) | st.builds(FullRewrite, PREFIXES),
    rest=st.sampled_from(["", "/", "/x", "//x", "/x/a.b"]),
)
def test_a_rewrite_is_the_same_after_the_wire(kind, value, ignore_case, rewrite, rest):
    """Also where another message says it: a prefix that ends with a slash loses it."""
    match = PathMatch(kind, value, ignore_case)
    route = Route(RouteMatch(match), ForwardAction((WeightedCluster("c"),), path_rewrite=rewrite))
    config = RouteConfig("r", (VirtualHost("h", ("*",), (route,)),))
    back = decode(Kind.ROUTE, encode_resource(Kind.ROUTE, "r", config).body).virtual_hosts[0].routes[0]
    path = (value.upper() if ignore_case else value).encode() + (b"" if kind is PathKind.EXACT else rest.encode())
    assert compile_path_rewrite(back.action.path_rewrite, match, "f")(path) == compile_path_rewrite(rewrite, match, "f")(path)
