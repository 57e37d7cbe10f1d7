from mesh.sandbox.otlp_messages import ExportTraceServiceRequest, ExportTraceServiceResponse


def test_field_numbers_are_those_of_the_standard() -> None:
    # resource_spans(1){resource(1){attributes(1){key(1)="a" value(2){string_value(1)="b"}}} scope_spans(2){spans(2){name(5)="op"}}}
    attribute = b"\x0a\x01a\x12\x03\x0a\x01b"
    resource = b"\x0a" + bytes([len(attribute)]) + attribute
    spans = b"\x12\x04\x2a\x02op"
    group = b"\x0a" + bytes([len(resource)]) + resource + b"\x12" + bytes([len(spans)]) + spans
    message = ExportTraceServiceRequest.FromString(b"\x0a" + bytes([len(group)]) + group)
    found = message.resource_spans[0]
    assert (found.resource.attributes[0].key, found.resource.attributes[0].value.string_value) == ("a", "b")
    assert found.scope_spans[0].spans[0].name == "op"


def test_a_value_is_one_of_its_kinds() -> None:
    request = ExportTraceServiceRequest()
    value = request.resource_spans.add().resource.attributes.add().value
    value.int_value = 0
    assert value.WhichOneof("value") == "int_value"
    value.bool_value = False
    assert value.WhichOneof("value") == "bool_value"


def test_partial_success() -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 3
    assert response.SerializeToString() == b"\x0a\x02\x08\x03"
