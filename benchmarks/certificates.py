"""Certificates of one run: a P-256 authority, and a leaf with a SPIFFE id for everybody who speaks mutual TLS."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN = "spiffe://cluster.local/"
ROOTS = "roots.pem"
NAMES = ("proxy", "load", "backend")


def identity(name: str) -> str:
    """SPIFFE id of one of NAMES."""
    return f"{TRUST_DOMAIN}ns/bench/sa/{name}"


def make(directory: Path) -> None:
    """Write roots.pem and, for each of NAMES, NAME.pem: certificate and key. They are valid for a day."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
    root = _sign(authority, issuer, authority.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    (directory / ROOTS).write_bytes(root.public_bytes(serialization.Encoding.PEM))
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    for name in NAMES:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity(name))])
        leaf = _sign(
            authority, issuer, key.public_key(), x509.BasicConstraints(ca=False, path_length=None), usage, names
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / f"{name}.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + private)


def _sign(
    authority: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    constraints: x509.BasicConstraints,
    *more: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    subject = issuer if constraints.ca else x509.Name([])  # as the mesh's own: a leaf is known by its SPIFFE id alone
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(constraints, critical=True)
    )
    for each in more:
        # RFC 5280 4.2.1.6: names are critical where the subject is empty.
        builder = builder.add_extension(each, critical=isinstance(each, x509.SubjectAlternativeName))
    return builder.sign(authority, hashes.SHA256())
