import pytest

from mesh.codec.h1 import RequestHead
from mesh.model.match import StringKind, StringMatch
from mesh.model.route import CorsPolicy
from mesh.proxy.cors import compile_cors
from mesh.proxy.match import CompileError
from tests.support.observe import head

POLICY = CorsPolicy(
    (StringMatch(StringKind.EXACT, "https://a.com"), StringMatch(StringKind.SUFFIX, ".b.com")),
    allow_methods="GET,POST",
    allow_headers="x-foo",
    expose_headers="x-bar",
    max_age="86400",
    allow_credentials=True,
)


def preflight(origin: str) -> RequestHead:
    return head("OPTIONS", "/", "h", origin=origin, access_control_request_method="POST")


def test_a_preflight_is_answered() -> None:
    reply = compile_cors(POLICY, "f").preflight(preflight("https://x.b.com"))
    assert reply is not None and reply.status == 200
    assert reply.headers == (
        b"access-control-allow-origin: https://x.b.com\r\n"
        b"access-control-allow-credentials: true\r\n"
        b"access-control-allow-methods: GET,POST\r\n"
        b"access-control-allow-headers: x-foo\r\n"
        b"access-control-max-age: 86400\r\n"
        b"access-control-expose-headers: x-bar\r\n"
    )


def test_a_star_is_every_origin() -> None:
    policy = CorsPolicy((StringMatch(StringKind.EXACT, "*"),))
    reply = compile_cors(policy, "f").preflight(preflight("https://anyone"))
    assert reply is not None and reply.headers == b"access-control-allow-origin: https://anyone\r\n"


@pytest.mark.parametrize(
    "request_head",
    [head("GET", "/", "h", origin="https://a.com"), head("OPTIONS", "/", "h", origin="https://a.com"), head("OPTIONS")],
)
def test_other_requests_go_on(request_head: RequestHead) -> None:
    assert compile_cors(POLICY, "f").preflight(request_head) is None


def test_preflights_of_strangers_go_on_or_not() -> None:
    assert compile_cors(POLICY, "f").preflight(preflight("https://evil.com")) is None
    strict = compile_cors(CorsPolicy(POLICY.allow_origins, forward_unmatched=False), "f")
    reply = strict.preflight(preflight("https://evil.com"))
    assert reply is not None and reply.headers == b""


def test_responses_name_the_origin() -> None:
    cors = compile_cors(POLICY, "f")
    assert cors.response_lines(head("GET", "/", "h", origin="https://a.com")) == (
        b"access-control-allow-origin: https://a.com\r\n"
        b"access-control-allow-credentials: true\r\n"
        b"access-control-expose-headers: x-bar\r\nvary: origin\r\n"
    )
    assert cors.response_lines(head("GET", "/", "h", origin="https://evil.com")) == b""
    assert cors.response_lines(head()) == b""


def test_control_characters_are_refused() -> None:
    with pytest.raises(CompileError, match="allow_methods"):
        compile_cors(CorsPolicy((), allow_methods="GET\r\nx: y"), "f")
