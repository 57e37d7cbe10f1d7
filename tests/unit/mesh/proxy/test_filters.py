from mesh.model.match import RouteMatch, StringKind, StringMatch
from mesh.model.route import CorsPolicy, DirectResponse, Fault, FaultDelay, Route, RouteConfig, VirtualHost
from mesh.proxy.compiled_route import CompiledRoute
from mesh.proxy.faults import Draw
from mesh.proxy.filters import before_forward
from mesh.proxy.reply import LocalReply
from mesh.proxy.route import RouteTable
from tests.support.observe import head, sequence


def compiled(route: Route) -> CompiledRoute:
    found = RouteTable(RouteConfig("r", (VirtualHost("v", ("*",), (route,)),))).find(head())
    assert found is not None
    return found


CORS = CorsPolicy((StringMatch(StringKind.EXACT, "https://a.com"),))
DELAY = Fault(FaultDelay(2.0))
PREFLIGHT = head("OPTIONS", "/", "h", origin="https://a.com", access_control_request_method="GET")


def test_a_preflight_is_answered_before_any_fault() -> None:
    route = compiled(Route(RouteMatch(), DirectResponse(200), fault=DELAY, cors=CORS))
    assert isinstance(before_forward(route, PREFLIGHT, sequence()), LocalReply)


def test_other_requests_meet_the_fault() -> None:
    route = compiled(Route(RouteMatch(), DirectResponse(200), fault=DELAY, cors=CORS))
    assert before_forward(route, head(), sequence(0.0)) == Draw(2.0, None)


def test_a_plain_route_has_no_filters() -> None:
    route = compiled(Route(RouteMatch(), DirectResponse(200)))
    assert not route.has_filters
    assert before_forward(route, PREFLIGHT, sequence()) is None
