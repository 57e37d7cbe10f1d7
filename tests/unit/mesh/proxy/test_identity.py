"""What makes an identity, and what is said of certificates that do not."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from cryptography import x509

from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, TlsCertificate
from mesh.proxy.identity import IdentityError, Workload, service_account_of, verify
from tests.support.proxy_tls import Authority

ROOT = Authority()
NAME = "spiffe://cluster.local/ns/shop/sa/reviews"
REVIEWS = Workload("shop", "reviews")
GOOD = ROOT.issue(NAME)


def test_a_good_certificate_says_who_we_are_and_until_when() -> None:
    identity = verify(GOOD, ROOT.pem, REVIEWS)
    assert identity.principal == NAME
    leaf = x509.load_pem_x509_certificate(GOOD.chain_pem)
    assert identity.not_after == leaf.not_valid_after_utc.timestamp()
    assert identity.not_before == leaf.not_valid_before_utc.timestamp()
    secrets = identity.secrets()
    assert secrets[WORKLOAD_CERTIFICATE].certificate == GOOD
    trust = secrets[WORKLOAD_ROOTS].trust
    assert trust is not None and trust.roots_pem == ROOT.pem
    assert "PRIVATE KEY" not in repr(identity)


@pytest.mark.parametrize(
    ("certificate", "roots", "why"),
    [
        (ROOT.issue("spiffe://cluster.local/ns/shop/sa/ratings"), ROOT.pem, "it is for .*/sa/ratings, not for spiffe://"),
        (ROOT.issue("reviews.shop.svc"), ROOT.pem, "nobody"),
        (ROOT.issue(NAME, lifetime=timedelta(days=-1)), ROOT.pem, "certificate has expired"),
        (GOOD, Authority("another").pem, "peers would refuse it: CERTIFICATE_VERIFY_FAILED"),
        (TlsCertificate(GOOD.chain_pem, ROOT.issue(NAME).key_pem), ROOT.pem, "private key does not belong"),
        (TlsCertificate(b"", GOOD.key_pem), ROOT.pem, "no certificate"),
        (GOOD, b"-----BEGIN rubbish", "roots cannot be loaded"),
    ],
)
def test_what_peers_would_not_take_is_refused_with_the_reason(
    certificate: TlsCertificate, roots: bytes, why: str
) -> None:
    with pytest.raises(IdentityError, match=why):
        verify(certificate, roots, REVIEWS)


def test_the_trust_domain_is_the_authoritys_to_say() -> None:
    other = "spiffe://prod.example.com/ns/shop/sa/reviews"
    assert verify(ROOT.issue(other), ROOT.pem, REVIEWS).principal == other


def test_a_token_says_whose_it_is() -> None:
    def token(claims: object) -> bytes:
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
        return b"e30." + body + b".signature"

    assert service_account_of(token({"sub": "system:serviceaccount:shop:reviews"})) == "reviews"
    for bad in (token({"sub": "bob"}), token({}), token([]), b"x", b"a.b.c", b"a.e30\xff.c", b""):
        assert service_account_of(bad) == ""
