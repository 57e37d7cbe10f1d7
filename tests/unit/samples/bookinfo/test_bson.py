import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples.bookinfo import bson
from samples.bookinfo.bson import BadBson

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), VALUES, max_size=4)


def test_bytes_are_those_of_the_specification() -> None:
    assert bson.encode({"hello": "world"}) == b"\x16\x00\x00\x00\x02hello\x00\x06\x00\x00\x00world\x00\x00"


@given(DOCUMENTS)
def test_documents_read_back(document: dict[str, object]) -> None:
    assert bson.decode(bson.encode(document)) == document


@given(DOCUMENTS, st.data())
def test_cut_or_changed_bytes_are_refused_or_another_document(document: dict[str, object], data: st.DataObject) -> None:
    encoded = bytearray(bson.encode(document))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        assert isinstance(bson.decode(bytes(encoded)), dict)
    except BadBson as exc:
        assert str(exc)


def test_dates_and_object_ids() -> None:
    now = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
    assert bson.decode(bson.encode({"d": now})) == {"d": now}
    assert bson.decode(b"\x14\0\0\0\x07i\0" + b"x" * 12 + b"\0") == {"i": b"x" * 12}


def test_unknown_types_are_named() -> None:
    with pytest.raises(BadBson, match="type 0x13 is not supported"):
        bson.decode(b"\x08\0\0\0\x13a\0\0")
    with pytest.raises(BadBson, match="no BSON form for set"):
        bson.encode({"a": {1}})


def test_nesting_is_bounded() -> None:
    data = b"\x05\0\0\0\0"
    for _ in range(100):
        data = (len(data) + 8).to_bytes(4, "little") + b"\x03a\0" + data + b"\0"
    with pytest.raises(BadBson, match="nested too deeply"):
        bson.decode(data)
