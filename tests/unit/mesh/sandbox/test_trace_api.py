import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from mesh.sandbox.otlp_messages import ExportTraceServiceRequest, ExportTraceServiceResponse
from mesh.sandbox.trace_api import BadQuery, application, parse_query
from mesh.sandbox.trace_store import TraceQuery, TraceStore

TRACE = "1" * 32


def request_bytes(trace: str = TRACE, service: str = "reviews.default") -> bytes:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    attribute = group.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", service
    span = group.scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes.fromhex(trace), b"\x01" * 8, "op"
    return bytes(request.SerializeToString())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    store = TraceStore()

    async def deliver(request: object) -> int:
        return store.add(request)

    transport = httpx.ASGITransport(application(store, deliver))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector") as found:
        yield found


async def post(client: httpx.AsyncClient, body: bytes, **headers: str) -> int:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return int((await client.post("/v1/traces", content=body, headers={"content-type": "application/x-protobuf", **names})).status_code)


async def test_what_is_posted_is_found(client: httpx.AsyncClient) -> None:
    assert await post(client, request_bytes()) == 200
    assert (await client.get("/api/services")).json()["data"] == ["reviews.default"]
    assert (await client.get("/api/services/reviews.default/operations")).json()["data"] == ["op"]
    assert (await client.get("/api/operations?service=reviews.default")).json()["data"] == [{"name": "op", "spanKind": ""}]
    assert [trace["traceID"] for trace in (await client.get("/api/traces?service=reviews.default")).json()["data"]] == [TRACE]
    assert (await client.get(f"/api/traces/{TRACE}")).json()["data"][0]["spans"][0]["operationName"] == "op"


async def test_an_unknown_trace_is_jaegers_404(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/traces/abc"))
    assert (answer.status_code, answer.json()["errors"]) == (404, [{"code": 404, "msg": "trace not found"}])


async def test_packed_bodies_are_taken(client: httpx.AsyncClient) -> None:
    assert await post(client, gzip.compress(request_bytes()), content_encoding="gzip") == 200


async def test_rejected_spans_are_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/traces", content=request_bytes("ab"), headers={"content-type": "application/x-protobuf"})
    assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff", {}, 400),
        (b"not gzip", {"content_encoding": "gzip"}, 400),
        (b"{}", {"content_type": "application/json"}, 415),
        (gzip.compress(b"x" * ((8 << 20) + 1)), {"content_encoding": "gzip"}, 400),
    ],
)
async def test_what_cannot_be_taken(client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int) -> None:
    assert await post(client, body, **headers) == status


async def test_health_and_metrics(client: httpx.AsyncClient) -> None:
    await post(client, request_bytes())
    assert (await client.get("/healthz")).text == "ok\n"
    assert "triomesh_collector_traces 1\n" in (await client.get("/metrics")).text


async def test_bad_questions_are_400(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/traces?limit=0"))
    assert answer.status_code == 400 and "limit" in answer.json()["errors"][0]["msg"]


def test_queries() -> None:
    assert parse_query({}, 1_000.0) == TraceQuery(end_us=1_060_000_000)
    found = parse_query(
        {"service": "a", "operation": "b", "limit": "5", "end": "2000000", "lookback": "1s", "minDuration": "1.5ms", "maxDuration": "2s", "tags": '{"error":"true"}'},
        1_000.0,
    )
    assert found == TraceQuery("a", "b", 1_000_000, 2_000_000, 1_500, 2_000_000, (("error", "true"),), 5)


def test_a_given_start_wins_over_the_lookback() -> None:
    assert parse_query({"start": "7", "lookback": "1h"}, 1.0).start_us == 7
    assert parse_query({"lookback": "custom"}, 1.0).start_us == 0


@pytest.mark.parametrize(
    "parameters",
    [{"limit": "x"}, {"limit": "1501"}, {"start": "-1"}, {"lookback": "soon"}, {"minDuration": "5"}, {"tags": "{"}, {"tags": '{"a":1}'}, {"end": "9" * 19}],
)
def test_bad_parameters_are_named(parameters: dict[str, str]) -> None:
    with pytest.raises(BadQuery, match=next(iter(parameters))):
        parse_query(parameters, 1.0)
