from mesh.proxy.observe.otlp_wire import decode_rejected, encode_request
from mesh.proxy.observe.span import Span, SpanKind
from mesh.sandbox.otlp_messages import ExportTraceServiceRequest, ExportTraceServiceResponse


def span(service: str = "a", name: str = "op", **fields: object) -> Span:
    values: dict[str, object] = {
        "kind": SpanKind.CLIENT,
        "trace_id": b"0af7651916cd43dd8448eb211c80319c",
        "span_id": b"b7ad6b7169203331",
        "parent_id": b"00f067aa0ba902b7",
        "start_ns": 1_700_000_000_000_000_001,
        "end_ns": 1_700_000_000_500_000_000,
        "is_error": True,
        "attributes": (("s", "text \u00fc"), ("n", 300), ("minus", -1), ("yes", True), ("no", False), ("long", "x" * 300)),
        "trace_state": "k=v",
    }
    return Span(service, name, **{**values, **fields})  # type: ignore[arg-type]


def test_protobuf_reads_what_we_write() -> None:
    message = ExportTraceServiceRequest.FromString(encode_request([span()], [("pod", "p-1")]))
    group = message.resource_spans[0]
    assert {item.key: item.value.string_value for item in group.resource.attributes} == {"service.name": "a", "pod": "p-1"}
    assert group.scope_spans[0].scope.name == "triomesh"
    found = group.scope_spans[0].spans[0]
    assert (found.trace_id.hex(), found.span_id.hex()) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (found.parent_span_id.hex(), found.trace_state, found.name, found.kind) == ("00f067aa0ba902b7", "k=v", "op", 3)
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (1_700_000_000_000_000_001, 1_700_000_000_500_000_000)
    assert found.status.code == 2
    values = {item.key: item.value for item in found.attributes}
    assert (values["s"].string_value, values["n"].int_value, values["minus"].int_value) == ("text \u00fc", 300, -1)
    assert (values["yes"].bool_value, values["no"].bool_value, values["no"].WhichOneof("value")) == (True, False, "bool_value")
    assert values["long"].string_value == "x" * 300


def test_spans_are_grouped_by_service() -> None:
    message = ExportTraceServiceRequest.FromString(encode_request([span("a"), span("b"), span("a", "other")]))
    groups = {
        group.resource.attributes[0].value.string_value: [item.name for item in group.scope_spans[0].spans]
        for group in message.resource_spans
    }
    assert groups == {"a": ["op", "other"], "b": ["op"]}


def test_what_is_empty_is_left_out() -> None:
    data = encode_request([span(parent_id=b"", trace_state="", is_error=False, attributes=(), end_ns=0)])
    found = ExportTraceServiceRequest.FromString(data).resource_spans[0].scope_spans[0].spans[0]
    assert (found.parent_span_id, found.trace_state, found.HasField("status"), len(found.attributes)) == (b"", "", False, 0)
    assert found.end_time_unix_nano == found.start_time_unix_nano


def test_the_response_tells_how_many_were_rejected() -> None:
    response = ExportTraceServiceResponse()
    assert decode_rejected(response.SerializeToString()) == 0
    response.partial_success.rejected_spans = 700
    response.partial_success.error_message = "no"
    assert decode_rejected(response.SerializeToString()) == 700


def test_an_unreadable_response_rejects_nothing() -> None:
    assert [decode_rejected(data) for data in (b"\x0a\x05\x08", b"\xff\xff\xff", b"\x0b\x08\x01", b"\x0d")] == [0, 0, 0, 0]
