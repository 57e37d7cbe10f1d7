import pytest

from mesh.model.route import Fault, FaultAbort, FaultDelay
from mesh.xds.kind import Kind
from tests.support.xds_json import TYPE, from_json, refused

FAULT, CORS = TYPE + "extensions.filters.http.fault.v3.HTTPFault", TYPE + "extensions.filters.http.cors.v3.CorsPolicy"


def config(name: str, **settings) -> dict:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}, "typed_per_filter_config": {name: settings}}
    return {"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [route]}]}


def decoded(**settings):
    return from_json(Kind.ROUTE, config("any name", **settings)).virtual_hosts[0].routes[0]


def test_fault_is_found_by_its_type():
    delay = {"fixed_delay": "7s", "percentage": {"numerator": 100}}
    abort = {"http_status": 500, "percentage": {"numerator": 5, "denominator": "TEN_THOUSAND"}}
    route = decoded(**{"@type": FAULT, "delay": delay, "abort": abort})
    assert route.fault == Fault(FaultDelay(7.0, 100.0), FaultAbort(0.05, 500))


def test_fault_without_percentage_never_happens():
    """Envoy: 0 when it is not set."""
    assert decoded(**{"@type": FAULT, "abort": {"grpc_status": 14}}).fault == Fault(None, FaultAbort(0.0, None, 14))


def test_cors_that_is_switched_off_is_none():
    off = {"default_value": {"numerator": 0}}
    assert decoded(**{"@type": CORS, "filter_enabled": off}).cors is None


def test_cors_forwards_strangers_by_default():
    assert decoded(**{"@type": CORS}).cors.forward_unmatched


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"@type": FAULT, "headers": [{"name": "a"}]}, ".headers"),
        ({"@type": FAULT, "delay": {"header_delay": {}}}, ".delay.header_delay"),
        ({"@type": FAULT, "abort": {}}, ".abort"),
        ({"@type": CORS, "shadow_enabled": {}}, ".shadow_enabled"),
        ({"@type": CORS, "filter_enabled": {"default_value": {"numerator": 50}}}, ".filter_enabled"),
        ({"@type": TYPE + "config.cluster.v3.Cluster"}, ""),
        ({"@type": TYPE + "config.route.v3.FilterConfig"}, ""),
    ],
)
def test_what_would_change_behaviour_is_refused(settings, field):
    assert (
        refused(Kind.ROUTE, config("f", **settings)) == f"virtual_hosts[0].routes[0].typed_per_filter_config[f]{field}"
    )


def test_optional_settings_are_skipped():
    route = decoded(**{"@type": TYPE + "config.route.v3.FilterConfig", "is_optional": True})
    assert (route.fault, route.cors) == (None, None)
