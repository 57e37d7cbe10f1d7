"""What the CA signs, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from mesh.control.ca import (
    BACKDATE_SECONDS,
    DEFAULT_LEAF_SECONDS,
    MAX_LEAF_SECONDS,
    ROOT_SECONDS,
    BadRequest,
    Expiring,
    fingerprint,
    make_root,
    pem,
    renew_root,
    unix,
)
from mesh.control.ca_secret import load
from mesh.model.spiffe import SpiffeId
from tests.support.identity_ca import NOW, Maker, secret
from tests.support.identity_control import csr

WHO = SpiffeId("cluster.local", "shop", "cart")


def _request(key: object, digest: object = hashes.SHA256()) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, digest).public_bytes(Encoding.PEM).decode()  # type: ignore[arg-type]


def test_a_leaf_is_a_spiffe_svid() -> None:
    authority = make_root(NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.sign(csr(key), WHO, 0, NOW)
    (leaf,) = issued.chain

    leaf.verify_directly_issued_by(authority.certificate)
    assert leaf.public_key() == key.public_key()
    assert leaf.subject == x509.Name([])
    extensions = {each.oid: each for each in leaf.extensions}
    names = extensions[x509.SubjectAlternativeName.oid]
    assert (names.critical, [name.value for name in names.value]) == (True, [str(WHO)])
    assert extensions[x509.BasicConstraints.oid].value == x509.BasicConstraints(ca=False, path_length=None)
    usage = extensions[x509.KeyUsage.oid]
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign, usage.value.key_encipherment) == (
        True,
        True,
        False,
        False,
    )
    purposes = extensions[x509.ExtendedKeyUsage.oid].value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    assert unix(leaf.not_valid_before_utc) == NOW - BACKDATE_SECONDS
    assert issued.not_after == unix(leaf.not_valid_after_utc) == NOW + DEFAULT_LEAF_SECONDS


@pytest.mark.parametrize(
    ("asked", "given"),
    [(0, DEFAULT_LEAF_SECONDS), (60, 60), (10**12, MAX_LEAF_SECONDS), (MAX_LEAF_SECONDS, MAX_LEAF_SECONDS)],
)
def test_a_leafs_life_is_as_asked_within_the_bound(asked: int, given: int) -> None:
    assert make_root(NOW).sign(csr(), WHO, asked, NOW).not_after == NOW + given


def test_a_leaf_never_outlives_its_issuer_or_the_root() -> None:
    root = Maker("root", ends=NOW + 500)
    middle = Maker("middle", root, ends=NOW + 900)
    authority = load(secret(middle, roots=root.pem), NOW)

    assert authority.sign(csr(), WHO, 0, NOW).not_after == NOW + 500
    with pytest.raises(Expiring, match="ended at"):
        authority.sign(csr(), WHO, 0, NOW + 500)


def test_a_leaf_of_an_intermediate_is_shown_with_it() -> None:
    root = Maker("root")
    middle = Maker("middle", root)
    issued = load(secret(middle, roots=root.pem), NOW).sign(csr(), WHO, 0, NOW)
    assert issued.chain[1:] == (middle.certificate,)
    # The operator's CA has no key identifier; the leaf's is then that of its key.
    found = issued.chain[0].extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert found == x509.AuthorityKeyIdentifier.from_issuer_public_key(middle.key.public_key())


def test_rsa_keys_of_2048_bits_are_signed_and_may_encipher_keys() -> None:
    leaf = make_root(NOW).sign(_request(rsa.generate_private_key(65537, 2048)), WHO, 0, NOW).chain[0]
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


@pytest.mark.parametrize(
    ("request_pem", "said"),
    [
        ("", "no PKCS #10"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "no PKCS #10"),
        ("x" * (64 << 10) + "x", "more than 65536"),
        (_request(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (_request(ec.generate_private_key(ec.SECP384R1())), "secp384r1"),
        (_request(ed25519.Ed25519PrivateKey.generate(), None), "neither P-256 nor RSA"),
    ],
    ids=["empty", "no DER", "too long", "RSA-1024", "P-384", "Ed25519"],
)
def test_what_cannot_be_signed_is_refused_in_words(request_pem: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        make_root(NOW).sign(request_pem, WHO, 0, NOW)


def test_a_request_that_its_key_has_not_signed_is_refused() -> None:
    good = x509.load_pem_x509_csr(csr().encode()).public_bytes(Encoding.DER)
    # The last byte belongs to the signature's second integer.
    broken = x509.load_der_x509_csr(good[:-1] + bytes([good[-1] ^ 1])).public_bytes(Encoding.PEM).decode()
    with pytest.raises(BadRequest, match="not signed by the key"):
        make_root(NOW).sign(broken, WHO, 0, NOW)


def test_a_renewed_root_verifies_what_the_old_one_signed_and_the_other_way_round() -> None:
    old = make_root(NOW)
    later = NOW + ROOT_SECONDS - 1000
    new = renew_root(old, later)

    for signer, verifier in ((old, new), (new, old)):
        signer.sign(csr(), WHO, 60, later).chain[0].verify_directly_issued_by(verifier.certificate)
    assert new.roots == (new.certificate, old.certificate)
    assert new.not_after == later + ROOT_SECONDS
    assert renew_root(new, old.not_after).roots[1:] == (new.certificate,)


def test_a_key_is_in_no_repr() -> None:
    authority = make_root(NOW)
    assert "key=" not in repr(authority)
    assert replace(authority, roots=()).roots == ()


def test_fingerprints_and_pem_are_those_of_openssl() -> None:
    root = Maker("root").certificate
    assert fingerprint(root) == root.fingerprint(hashes.SHA256()).hex()
    assert x509.load_pem_x509_certificates(pem([root, root]).encode()) == [root, root]
