"""Errors travel whole."""

import pickle

from mesh.codec.events import ProtocolError


def test_protocol_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ProtocolError(431, "too long")))
    assert (error.status, error.message, str(error)) == (431, "too long", "too long")
