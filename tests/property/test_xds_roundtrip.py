"""decode(encode(x)) == x for every resource type, and equal values have equal bytes."""

from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.model.endpoint import LoadAssignment
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
