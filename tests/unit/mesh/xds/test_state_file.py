import pytest

from mesh.xds.kind import Kind
from mesh.xds.state_file import StateError, pack_state, unpack_state

STATE = {Kind.CLUSTER: [("a", "1", b"body")], Kind.SECRET: []}


def test_unpacks_what_was_packed():
    assert unpack_state("n", pack_state("n", STATE)) == STATE


def test_same_state_same_bytes():
    assert pack_state("n", STATE) == pack_state("n", STATE)


@pytest.mark.parametrize("at", [0, 30, -1])
def test_one_flipped_byte_is_noticed(at):
    data = bytearray(pack_state("n", STATE))
    data[at] ^= 1
    with pytest.raises(StateError):
        unpack_state("n", bytes(data))


@pytest.mark.parametrize("length", [0, 10, 21, 60])
def test_a_cut_off_file_is_noticed(length):
    with pytest.raises(StateError):
        unpack_state("n", pack_state("n", STATE)[:length])


def test_another_nodes_file_is_refused():
    with pytest.raises(StateError, match="written for node 'm'"):
        unpack_state("n", pack_state("m", STATE))
