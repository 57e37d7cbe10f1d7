import pytest

from mesh.model.match import RouteMatch, StringKind, StringMatch
from mesh.model.route import CorsPolicy, Fault, FaultAbort, FaultDelay, NonForwarding, Route, RouteConfig, VirtualHost
from tests.support.xds_json import to_json, unencodable

AT = "virtual_hosts[0].routes[0]"


def config(**policy) -> RouteConfig:
    return RouteConfig("r", (VirtualHost("h", ("*",), (Route(RouteMatch(), NonForwarding(), **policy),)),))


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"fault": Fault(FaultDelay(0.0))}, "fault.delay.seconds"),
        ({"fault": Fault(FaultDelay(1.0, 101))}, "fault.delay.percent"),
        ({"fault": Fault(abort=FaultAbort(1))}, "fault.abort"),
        ({"fault": Fault(abort=FaultAbort(1, 500, 14))}, "fault.abort"),
        ({"fault": Fault(abort=FaultAbort(1, 199))}, "fault.abort.http_status"),
        ({"fault": Fault(abort=FaultAbort(1, grpc_status=17))}, "fault.abort.grpc_status"),
        ({"cors": CorsPolicy((StringMatch(StringKind.PREFIX, ""),))}, "cors.allow_origins[0]"),
    ],
)
def test_what_envoy_would_refuse_is_refused_first(policy, field):
    assert unencodable(config(**policy)) == f"{AT}.{field}"


def test_settings_are_found_by_the_filters_name():
    policy = {"fault": Fault(FaultDelay(1.0)), "cors": CorsPolicy(())}
    (route,) = to_json(config(**policy))["virtual_hosts"][0]["routes"]
    assert set(route["typed_per_filter_config"]) == {"envoy.filters.http.fault", "envoy.filters.http.cors"}
