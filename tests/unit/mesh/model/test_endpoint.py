"""Endpoints of an assignment."""

from mesh.model.addr import Address
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints


def test_endpoints_are_those_of_all_localities_in_order():
    first, second = Endpoint(Address("198.18.0.2", 80)), Endpoint(Address("198.18.0.3", 80))
    assignment = LoadAssignment("c", (LocalityEndpoints((first,)), LocalityEndpoints((second,), priority=1)))
    assert assignment.endpoints() == (first, second)
