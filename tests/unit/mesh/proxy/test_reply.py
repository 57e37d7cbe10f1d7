from mesh.model.failure import Failure, Flag, Side
from mesh.proxy.reply import NO_ROUTE, LocalReply, no_cluster, reply_to


def test_a_full_breaker_says_so() -> None:
    reply = reply_to(Failure(Flag.UPSTREAM_OVERFLOW, Side.LOCAL, 503, "overflow"))
    assert (reply.status, reply.headers, reply.flags) == (503, b"x-envoy-overloaded: true\r\n", (Flag.UPSTREAM_OVERFLOW,))
    assert reply.body.endswith(b"reset reason: overflow")


def test_bodies_come_with_their_type() -> None:
    assert LocalReply(500, b"x").header_lines() == b"content-type: text/plain\r\n"
    assert LocalReply(404, headers=b"a: b\r\n").header_lines() == b"a: b\r\n"


def test_reasons_of_ordinary_and_invented_codes() -> None:
    assert (LocalReply(503).reason, LocalReply(555).reason) == (b"Service Unavailable", b"Unknown")


def test_grpc_clients_get_trailers_only() -> None:
    reply = LocalReply(503, b"no healthy \xc3\xbcpstream").for_grpc()
    assert (reply.status, reply.body, reply.grpc_status) == (200, b"", 14)
    assert reply.headers == (
        b"content-type: application/grpc\r\ngrpc-status: 14\r\ngrpc-message: no healthy %C3%BCpstream\r\n"
    )


def test_http_codes_become_grpc_ones() -> None:
    codes = {status: LocalReply(status).for_grpc().grpc_status for status in (400, 401, 403, 404, 429, 504, 500, 418)}
    assert codes == {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 504: 14, 500: 2, 418: 2}


def test_details_of_missing_things() -> None:
    assert (NO_ROUTE.status, NO_ROUTE.flags, NO_ROUTE.details) == (404, (Flag.NO_ROUTE,), "route_not_found")
    assert (no_cluster(500).status, no_cluster(503).flags) == (500, (Flag.NO_CLUSTER,))


def test_a_reply_is_made_grpc_once() -> None:
    reply = LocalReply(503, b"x").for_grpc()
    assert reply.for_grpc() is reply
