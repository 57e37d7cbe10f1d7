"""HTTP/1 for any bytes: splits do not matter, encoding what was parsed parses the same, errors are ProtocolErrors."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.codec import FORMS, load, request_events, response_events
from tests.support.codec_strategies import messages, noise, requests, responses

PROFILE = settings(max_examples=150, deadline=None)


@pytest.fixture(scope="module", params=FORMS)
def h1(request: pytest.FixtureRequest) -> Any:
    found = load("h1", request.param)
    if found is None:
        pytest.skip("not compiled here")
    return found


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@PROFILE
@given(data=messages(requests()), cuts=CUTS, data_only=st.booleans())
def test_requests_do_not_depend_on_how_bytes_arrive(h1: Any, data: bytes, cuts: list[int], data_only: bool) -> None:
    whole = request_events(h1, [data], eof=True, data_only=data_only)
    assert request_events(h1, _cut(data, cuts), eof=True, data_only=data_only) == whole
    assert request_events(h1, [data[i : i + 1] for i in range(len(data))], eof=True, data_only=data_only) == whole


@PROFILE
@given(data=messages(responses()), cuts=CUTS, method=st.sampled_from([b"GET", b"HEAD", b"CONNECT"]))
def test_responses_do_not_depend_on_how_bytes_arrive(h1: Any, data: bytes, cuts: list[int], method: bytes) -> None:
    whole = response_events(h1, [data], method, eof=True)
    assert response_events(h1, _cut(data, cuts), method, eof=True) == whole


@PROFILE
@given(data=noise(), cuts=CUTS)
def test_any_bytes_end_in_an_event_or_a_protocol_error(h1: Any, data: bytes, cuts: list[int]) -> None:
    assert request_events(h1, _cut(data, cuts), eof=True) == request_events(h1, [data], eof=True)
    assert response_events(h1, _cut(data, cuts), eof=True) == response_events(h1, [data], eof=True)


@PROFILE
@given(data=requests())
def test_an_encoded_request_says_the_same(h1: Any, data: bytes) -> None:
    head = _head(h1.RequestParser(), data)
    encoded = h1.encode_request(head, extra=b"X-Added: 1\r\n")
    again = _head(h1.RequestParser(), encoded)
    assert (again.method, again.path, again.query) == (head.method, head.path, head.query)
    assert (again.authority, again.minor) == (head.authority, 1)
    assert (again.content_length, again.is_chunked) == (head.content_length, head.is_chunked)
    assert _kept(again) == [*_kept(head), (b"x-added", b"1")]
    assert sorted(_head(h1.RequestParser(), h1.encode_request(again))) == sorted(again)  # a second hop changes nothing


@PROFILE
@given(data=responses())
def test_an_encoded_response_says_the_same(h1: Any, data: bytes) -> None:
    head = _head(h1.ResponseParser(), data, b"GET")
    encoded = h1.encode_response(head)
    again = _head(h1.ResponseParser(), encoded, b"GET")
    assert (again.status, again.reason, again.minor) == (head.status, head.reason, 1)
    assert again.has_body == head.has_body
    assert not head.has_body or again.is_chunked == head.is_chunked
    assert _kept(again) == _kept(head)
    assert sorted(_head(h1.ResponseParser(), h1.encode_response(again), b"GET")) == sorted(again)


@PROFILE
@given(data=st.one_of(messages(requests()), noise()))
def test_both_forms_agree(data: bytes) -> None:
    compiled, pure = load("h1", "compiled"), load("h1", "pure")
    if compiled is None:
        pytest.skip("not compiled here")
    assert request_events(compiled, [data], eof=True) == request_events(pure, [data], eof=True)
    assert response_events(compiled, [data], eof=True) == response_events(pure, [data], eof=True)


def _head(parser: Any, data: bytes, *method: bytes) -> Any:
    parser.feed(data)
    head = parser.head(*method)
    assert head is not None
    return head


_FRAMING = {b"content-length", b"transfer-encoding"}
_CHANGED = {b"host", b"connection", b"te", b"keep-alive", b"upgrade", b"proxy-connection", b"x-named"} | _FRAMING


def _kept(head: Any) -> list[tuple[bytes, bytes]]:
    return [pair for pair in head if pair[0] not in _CHANGED]
