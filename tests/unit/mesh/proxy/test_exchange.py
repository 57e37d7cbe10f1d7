import pytest

from mesh.codec.h1 import RequestHead
from mesh.model.failure import Flag
from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.route import (
    DirectResponse,
    Fault,
    FaultAbort,
    FaultDelay,
    ForwardAction,
    RedirectAction,
    Route,
    WeightedCluster,
)
from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.exchange import Delayed, decide
from mesh.proxy.forwarding import Forwarding
from mesh.proxy.reply import LocalReply
from tests.support.proxy import cluster, forward, listener, manager, routes, running, snapshot
from tests.support.proxy_seat import seat

TO_A = ForwardAction((WeightedCluster("a"),))


async def decided(request: bytes, *items: Route) -> tuple[Forwarding | LocalReply | Delayed, Downstream]:
    async with running(snapshot(listener(manager(routes(*items))), cluster("a", 1))) as proxy:
        down = seat(proxy)
        down.parser.feed(request)
        head = down.parser.head()
        assert isinstance(head, RequestHead)
        return decide(down, head), down


GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("route", "status"),
    [
        (Route(RouteMatch(PathMatch(PathKind.EXACT, "/y")), TO_A), 404),
        (Route(RouteMatch(), DirectResponse(418, b"tea")), 418),
        (Route(RouteMatch(), RedirectAction(302, host="b")), 302),
        (Route(RouteMatch(), ForwardAction((WeightedCluster("missing"),))), 503),
        (Route(RouteMatch(), ForwardAction((WeightedCluster("missing"),), missing_cluster_status=500)), 500),
        (Route(RouteMatch(), TO_A, fault=Fault(abort=FaultAbort(http_status=555))), 555),
    ],
)
async def test_some_requests_never_leave(route: Route, status: int) -> None:
    decision, down = await decided(GET, route)
    assert isinstance(decision, LocalReply) and decision.status == status
    assert down.record is not None and down.record.request_id


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tls\r\n\r\n", 403),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)
async def test_what_is_refused_whatever_the_routes_say(request_bytes: bytes, status: int) -> None:
    decision, _ = await decided(request_bytes, forward("a"))
    assert isinstance(decision, LocalReply) and decision.status == status


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
async def test_websockets_and_offers_of_h2c_go_on(upgrade: bytes) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n" % upgrade
    assert isinstance((await decided(request, forward("a")))[0], Forwarding)


async def test_an_abort_is_counted_for_whom_the_request_was_meant_for() -> None:
    decision, down = await decided(GET, Route(RouteMatch(), TO_A, fault=Fault(abort=FaultAbort(http_status=500))))
    assert isinstance(decision, LocalReply) and decision.status == 500
    record = down.record
    assert record is not None and record.cluster is not None and record.share is not None
    assert (record.cluster.name, record.share.cluster) == ("a", "a")


async def test_a_delay_comes_before_what_follows_it() -> None:
    decision, down = await decided(
        GET, Route(RouteMatch(), TO_A, fault=Fault(FaultDelay(7.0), FaultAbort(http_status=500)))
    )
    assert isinstance(decision, Delayed) and decision.draw.delay_seconds == 7.0
    assert decision.draw.abort is not None and isinstance(decision.then, Forwarding)
    assert down.record is not None and down.record.flags == (Flag.DELAY_INJECTED,)
