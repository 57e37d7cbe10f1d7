"""Certificates of a run: who they are for, and that nobody else's will do."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.certificates import NAMES, ROOTS, identity, make


def test_everybody_has_a_p256_leaf_of_the_authority_with_a_spiffe_id(tmp_path: Path) -> None:
    make(tmp_path)
    root = x509.load_pem_x509_certificate((tmp_path / ROOTS).read_bytes())
    for name in NAMES:
        leaf = x509.load_pem_x509_certificate((tmp_path / f"{name}.pem").read_bytes())
        leaf.verify_directly_issued_by(root)
        key = leaf.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [identity(name)]
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tmp_path / f"{name}.pem")


def test_two_runs_trust_different_authorities(tmp_path: Path) -> None:
    make(tmp_path)
    first = (tmp_path / ROOTS).read_bytes()
    make(tmp_path)
    root, leaf = (x509.load_pem_x509_certificate(pem) for pem in (first, (tmp_path / "proxy.pem").read_bytes()))
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(root)
