"""What the header says, and that nothing in a certificate can break out of it."""

from __future__ import annotations

import ssl
from hashlib import sha256
from urllib.parse import unquote

import pytest

from mesh.model.listener import CertificateDetail, ClientCertificate
from mesh.proxy.observe.record import CertificateRule
from mesh.proxy.xfcc import client_certificate, distinguished_name, rule_of
from tests.support.proxy_tls import Authority


def test_every_part_in_envoys_order() -> None:
    leaf = Authority().issue("spiffe://mesh/bob", "bob.example.com", "b2.example.com")
    der = ssl.PEM_cert_to_DER_cert(leaf.chain_pem.decode())
    decoded = {
        "subject": ((("organizationName", "Acme, Inc"),), (("commonName", "bob"),)),
        "subjectAltName": (("URI", "spiffe://mesh/bob"), ("DNS", "bob.example.com"), ("DNS", "b2.example.com")),
    }
    value = client_certificate(decoded, der, tuple(CertificateDetail), "spiffe://mesh/me").decode()
    by, digest, certificate, chain, subject, *names = value.split(";")
    assert by == "By=spiffe://mesh/me" and chain.replace("Chain=", "Cert=") == certificate
    assert digest == f"Hash={sha256(der).hexdigest()}"
    assert ssl.PEM_cert_to_DER_cert(unquote(certificate.removeprefix('Cert="').removesuffix('"'))) == der
    assert subject == 'Subject="CN=bob,O=Acme\\\\, Inc"'
    assert names == ["URI=spiffe://mesh/bob", "DNS=bob.example.com", "DNS=b2.example.com"]
    assert client_certificate(decoded, der, ()).decode() == digest


@pytest.mark.parametrize(
    ("policy", "with_one", "without"),
    [
        (ClientCertificate.SANITIZE, CertificateRule.REMOVE, CertificateRule.REMOVE),
        (ClientCertificate.FORWARD_ONLY, CertificateRule.KEEP, CertificateRule.REMOVE),
        (ClientCertificate.APPEND, CertificateRule.APPEND, CertificateRule.REMOVE),
        (ClientCertificate.REPLACE, CertificateRule.REPLACE, CertificateRule.REMOVE),
        (ClientCertificate.ALWAYS_FORWARD, CertificateRule.KEEP, CertificateRule.KEEP),
    ],
)
def test_without_a_certificate_only_one_policy_believes_the_header(
    policy: ClientCertificate, with_one: CertificateRule, without: CertificateRule
) -> None:
    assert (rule_of(policy, True), rule_of(policy, False)) == (with_one, without)


@pytest.mark.parametrize("evil", ['a"b', "a;By=x", "a\r\nx-admin: 1", "a,Hash=1"])
def test_names_cannot_forge_other_parts(evil: str) -> None:
    decoded = {"subject": ((("commonName", evil),),), "subjectAltName": (("URI", evil),)}
    value = client_certificate(decoded, b"der", tuple(CertificateDetail))
    assert b"\r" not in value and b"\n" not in value
    uri = value.rpartition(b"URI=")[2]
    assert uri[:1] == uri[-1:] == b'"'


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ((), ""),
        (((("commonName", "#x"),),), "CN=\\#x"),
        (((("countryName", "AT"),), (("organizationName", "O"), ("organizationalUnitName", "U"))), "O=O+OU=U,C=AT"),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
    ],
)
def test_subjects(subject: object, text: str) -> None:
    assert distinguished_name(subject) == text
