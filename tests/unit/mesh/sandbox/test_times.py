"""Kubernetes' time format."""

from mesh.sandbox.times import micro_stamp, parse_stamp, stamp


def test_stamps_are_read_back() -> None:
    assert stamp(1_700_000_000.9) == "2023-11-14T22:13:20Z"
    assert parse_stamp("2023-11-14T22:13:20Z") == 1_700_000_000
    assert micro_stamp(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"
    assert parse_stamp("2023-11-14T22:13:20.250000Z") == 1_700_000_000.25
