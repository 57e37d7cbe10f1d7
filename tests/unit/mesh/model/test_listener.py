"""Matches of filter chains."""

from mesh.model.listener import ChainMatch


def test_only_a_match_without_any_field_is_empty():
    assert ChainMatch().is_empty
    assert not ChainMatch(destination_port=80).is_empty
