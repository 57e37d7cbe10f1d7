from mesh.xds.error import DecodeError, LimitError, ProtocolError


def test_message_names_resource_and_field():
    assert str(DecodeError("c1", "health_checks", "is not supported")) == "c1: health_checks: is not supported"


def test_empty_parts_are_left_out():
    assert str(DecodeError("", "", "cannot be parsed")) == "cannot be parsed"


def test_a_limit_is_a_protocol_error():
    assert issubclass(LimitError, ProtocolError)
