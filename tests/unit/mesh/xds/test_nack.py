from google.rpc import status_pb2

from mesh.xds.error import DecodeError
from mesh.xds.nack import named_in_details, named_in_message, write_nack


def status(*errors: DecodeError):
    message = status_pb2.Status()
    write_nack(message, errors)
    return message


def test_details_name_each_resource_with_its_own_message():
    written = status(DecodeError("a", "x.y", "is bad"), DecodeError("b", "", "is worse"))
    assert named_in_details(written, ["a", "b", "c"]) == [("a", "x.y: is bad"), ("b", "is worse")]
    assert written.code == 3
    assert written.message == "a: x.y: is bad; b: is worse"


def test_details_of_what_was_not_offered_do_not_count():
    assert named_in_details(status(DecodeError("gone", "", "m")), ["a"]) == []


def test_several_errors_of_one_resource_are_joined():
    written = status(DecodeError("a", "x", "m"), DecodeError("a", "y", "n"))
    assert named_in_details(written, ["a"]) == [("a", "x: m; y: n")]


def test_envoys_message_accuses_whole_names_only():
    message = status_pb2.Status(message="Error adding/updating cluster(s) outbound|80||ab: bad")
    offered = ["outbound|80||a", "outbound|80||ab", "c"]
    assert [name for name, _ in named_in_message(message, offered)] == ["outbound|80||ab"]


def test_message_without_names_accuses_all():
    assert [name for name, _ in named_in_message(status_pb2.Status(message="no"), ["b", "a"])] == ["a", "b"]


def test_a_thousand_errors_stay_bounded():
    written = status(*[DecodeError(f"r{i}", "f" * 50, "m" * 50) for i in range(1000)])
    assert written.ByteSize() < 64 << 10
