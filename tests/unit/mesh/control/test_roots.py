"""The bundle: roots come before their leaves and go after them."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509

from mesh.control.ca import fingerprint
from mesh.control.roots import FROM_THE_START, Root, bundle_pem, merged, next_end, read, write
from tests.support.identity_ca import NOW, YEAR, Maker

OLD, NEW, SHORT = (Maker("old").certificate, Maker("new").certificate, Maker("short", ends=NOW + 5).certificate)


def _roots(*found: Root) -> dict[str, Root]:
    return {fingerprint(root.certificate): root for root in found}


def test_the_first_roots_have_been_there_from_the_start() -> None:
    assert merged(None, [OLD], NOW, 10) == _roots(Root(OLD, FROM_THE_START))


def test_a_new_root_joins_and_the_replaced_one_stays_for_a_while() -> None:
    first = merged(None, [OLD], NOW, 10)
    second = merged(first, [NEW], NOW, 10)
    assert list(second.values()) == [Root(NEW, NOW), Root(OLD, FROM_THE_START, NOW + 10)]
    assert merged(second, [NEW], NOW + 9, 10) == second
    assert merged(second, [NEW], NOW + 10, 10) == _roots(Root(NEW, NOW))


def test_a_root_that_is_wanted_again_stays() -> None:
    leaving = merged(merged(None, [OLD], NOW, 10), [NEW], NOW, 10)
    assert merged(leaving, [NEW, OLD], NOW + 5, 10) == _roots(Root(NEW, NOW), Root(OLD, FROM_THE_START))


def test_a_replaced_root_goes_at_its_own_end_at_the_latest() -> None:
    leaving = merged(_roots(Root(SHORT, 1.0)), [NEW], NOW, 10)
    assert next_end(leaving, NOW) == NOW + 5
    assert list(merged(leaving, [NEW], NOW + 5, 10)) == [fingerprint(NEW)]


def test_without_an_overlap_it_goes_at_once() -> None:
    assert merged(_roots(Root(OLD, 1.0)), [NEW], NOW, 0) == _roots(Root(NEW, NOW))
    leaving = merged(_roots(Root(OLD, 1.0)), [NEW], NOW, 100)
    assert merged(leaving, [NEW], NOW + 1, 0) == _roots(Root(NEW, NOW))


def test_the_next_end_is_in_the_future() -> None:
    assert next_end(_roots(Root(SHORT, 1.0)), NOW + 5) == float("inf")
    assert next_end(_roots(Root(OLD, 1.0)), NOW) == NOW + YEAR


def test_what_is_written_is_read_back() -> None:
    bundle = _roots(Root(NEW, NOW + 0.25), Root(OLD, FROM_THE_START, NOW + 10))
    data = write(bundle)
    assert read({"data": data}) == bundle
    assert list(read({"data": data})) == list(bundle)
    assert x509.load_pem_x509_certificates(bundle_pem(bundle).encode()) == [NEW, OLD]


@pytest.mark.parametrize(
    "changed",
    [
        {"record.json": None},
        {"record.json": "bm9uZQ=="},
        {"root-cert.pem": "bm9uZQ=="},
        {"record.json": base64.b64encode(b"{}").decode()},
    ],
)
def test_a_record_that_cannot_be_read_is_told(changed: dict[str, str | None]) -> None:
    with pytest.raises(ValueError, match="triomesh-ca-roots: cannot be read"):
        read({"data": {**write(_roots(Root(OLD, 1.0))), **changed}})
