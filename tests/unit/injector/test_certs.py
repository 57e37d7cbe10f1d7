import datetime as dt
import itertools
from dataclasses import replace

import pytest
from cryptography import x509

from injector import certs
from injector.certs import BadCerts, Certs

NAMES = ("triomesh-injector.triomesh-system.svc", "triomesh-injector")
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def trusts(bundle: str, leaf: str) -> bool:
    found = x509.load_pem_x509_certificate(leaf.encode())
    for ca in x509.load_pem_x509_certificates(bundle.encode()):
        try:
            found.verify_directly_issued_by(ca)
        except Exception:  # noqa: BLE001, S112: a foreign issuer or signature; cryptography raises two kinds
            continue
        return True
    return False


def test_new_certificates_are_stable_until_half_of_the_leafs_life() -> None:
    made = certs.create(NAMES, NOW)
    due = certs.due_at(made)
    assert due == NOW + certs.LEAF_LIFETIME / 2
    assert certs.step(made, NAMES, due - SECOND) is made
    renewed = certs.step(made, NAMES, due)
    assert (renewed.ca, renewed.leaf == made.leaf) == (made.ca, False)
    assert certs.step(renewed, NAMES, due) is renewed


def test_exchange_of_the_ca_never_leaves_a_leaf_that_is_not_trusted() -> None:
    state = certs.start_exchange(certs.create(NAMES, NOW), NOW)
    now, seen = NOW, [state]
    # Walk through every due step; a cache that lags by less than SETTLE holds the previous bundle.
    for _ in range(3):
        now = certs.due_at(seen[-1])
        seen.append(certs.step(seen[-1], NAMES, now))
    staged, switched, done = seen[0], seen[1], seen[2]
    assert (staged.leaf, bool(staged.next_ca)) == (seen[0].leaf, True)
    assert switched.ca == staged.next_ca
    assert switched.retired_ca == staged.ca
    assert (done.next_ca, done.retired_ca, done.leaf) == ("", "", switched.leaf)
    for before, after in itertools.pairwise(seen):
        assert trusts(before.bundle, after.leaf), "an API server that lags must trust what is served now"
        assert trusts(after.bundle, before.leaf), "an API server that is current must trust a replica that lags"


def test_ca_is_exchanged_long_before_its_end() -> None:
    made = certs.create(NAMES, NOW)
    near = NOW + certs.CA_LIFETIME - dt.timedelta(days=365)
    leafy = replace(made, **dict(zip(("leaf", "leaf_key"), certs._make_leaf(made.ca, made.ca_key, NAMES, near))))
    assert certs.step(leafy, NAMES, near).next_ca


def test_expired_ca_is_replaced_at_once() -> None:
    made = certs.create(NAMES, NOW)
    late = NOW + certs.CA_LIFETIME + SECOND
    stepped = certs.step(made, NAMES, late)
    assert stepped.ca != made.ca
    assert trusts(stepped.bundle, stepped.leaf)


def test_other_names_need_another_leaf() -> None:
    made = certs.create(NAMES, NOW)
    stepped = certs.step(made, (*NAMES, "more"), NOW)
    assert (stepped.ca, stepped.leaf == made.leaf) == (made.ca, False)


def test_second_exchange_waits_for_the_first() -> None:
    staged = certs.start_exchange(certs.create(NAMES, NOW), NOW)
    assert certs.start_exchange(staged, NOW) is staged


def test_secret_reads_back() -> None:
    staged = certs.start_exchange(certs.create(NAMES, NOW), NOW)
    assert certs.from_secret_data(certs.to_secret_data(staged)) == staged


@pytest.mark.parametrize("field", ["ca", "ca_key", "leaf", "leaf_key"])
@pytest.mark.parametrize("damage", ["", "bm90IGEgY2VydA==", "%%%"])
def test_damaged_secret_is_refused_by_key(field: str, damage: str) -> None:
    data = certs.to_secret_data(certs.create(NAMES, NOW))
    data[certs._KEYS[field]] = damage
    with pytest.raises(BadCerts, match=r"data\["):
        certs.from_secret_data(data)


def test_key_of_another_certificate_is_refused() -> None:
    one, other = certs.create(NAMES, NOW), certs.create(NAMES, NOW)
    mixed = Certs(one.ca, one.ca_key, one.leaf, other.leaf_key)
    with pytest.raises(BadCerts, match=r"data\[tls\.key\]: is not the key of data\[tls\.crt\]"):
        certs.from_secret_data(certs.to_secret_data(mixed))
    foreign = Certs(one.ca, one.ca_key, other.leaf, other.leaf_key)
    with pytest.raises(BadCerts, match=r"is not issued by"):
        certs.from_secret_data(certs.to_secret_data(foreign))
