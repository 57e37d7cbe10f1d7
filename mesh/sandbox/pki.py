"""The sandbox cluster's certificates: one CA and what it signs, as files in one directory.

`ensure` makes what is missing and leaves the rest alone, so that a restarted API server keeps its identity and issued credentials stay
valid. Keys are ECDSA P-256; files are PEM, keys mode 0600. `sa.key` signs service-account tokens (ES256) and is not a certificate.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY = timedelta(days=365)
CA_VALIDITY = timedelta(days=3650)
SKEW = timedelta(minutes=5)  # a client whose clock is a little behind still accepts a new certificate

SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost")
SERVER_ADDRESSES = ("127.0.0.1", "::1", "198.18.0.1", "198.19.0.1")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One certificate to be signed. `names` are DNS names or IP addresses (servers only)."""

    file: str
    common_name: str
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    server: bool = False
    client: bool = False


LEAVES = (
    Leaf("apiserver", "kube-apiserver", names=(*SERVICE_NAMES, *SERVER_ADDRESSES), server=True),
    Leaf("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",), client=True),
    Leaf("admin", "kubernetes-admin", ("system:masters",), client=True),
    # Serving certificate of the kubelet's API and its identity towards the API server.
    Leaf("kubelet", "system:node:node", ("system:nodes", "system:masters"), ("localhost", "127.0.0.1", "198.18.0.1"), server=True, client=True),
)


@dataclass(frozen=True, slots=True)
class Pki:
    """Paths of everything. `cert("admin")`, `key("admin")`; the CA is `ca`, the token key `service_account_key`."""

    directory: Path

    def cert(self, name: str) -> Path:
        """The certificate file of `name`."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The private key file of `name`."""
        return self.directory / f"{name}.key"

    @property
    def ca(self) -> Path:
        """The cluster CA's certificate."""
        return self.cert("ca")

    @property
    def service_account_key(self) -> Path:
        """Private key that signs service-account tokens."""
        return self.key("sa")


def ensure(directory: Path, leaves: Sequence[Leaf] = LEAVES) -> Pki:
    """Make the CA, the token key and every leaf that is missing or within a day of its end; return their paths."""
    pki = Pki(directory)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.now(UTC)
    if not pki.service_account_key.exists():
        _write_key(pki.service_account_key, ec.generate_private_key(ec.SECP256R1()))
    if not (pki.ca.exists() and pki.key("ca").exists()):
        _make_ca(pki, now)
    _sign_missing(pki, pki, leaves, now)
    return pki


def issue(authority: Pki, directory: Path, leaves: Sequence[Leaf]) -> Pki:
    """Make, in another directory, a copy of the CA's certificate (not of its key) and the leaves that are missing there.

    Raises: OSError: the authority's files cannot be read. ValueError: they are no certificate and key.
    """
    pki = Pki(directory)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(pki.ca, authority.ca.read_bytes(), 0o644)
    _sign_missing(pki, authority, leaves, datetime.now(UTC))
    return pki


def _sign_missing(pki: Pki, authority: Pki, leaves: Sequence[Leaf], now: datetime) -> None:
    ca_cert = x509.load_pem_x509_certificate(authority.ca.read_bytes())
    ca_key = serialization.load_pem_private_key(authority.key("ca").read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError(f"{authority.key('ca')}: a CA key must be ECDSA or RSA")
    for leaf in leaves:
        if not _is_usable(pki, leaf.file, ca_cert, now):
            _sign(pki, leaf, ca_cert, ca_key, now)


def _is_usable(pki: Pki, name: str, ca: x509.Certificate, now: datetime) -> bool:
    if not (pki.cert(name).exists() and pki.key(name).exists()):
        return False
    cert = x509.load_pem_x509_certificate(pki.cert(name).read_bytes())
    return cert.issuer == ca.subject and cert.not_valid_after_utc > now + timedelta(days=1)


def _make_ca(pki: Pki, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # The serial in the name tells two sandboxes' CAs apart when somebody trusts both.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"triomesh-sandbox-ca-{x509.random_serial_number() % 10**8:08d}")])
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    cert = (
        _builder(name, name, key.public_key(), now, CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(pki.key("ca"), key)
    _write(pki.ca, cert.public_bytes(serialization.Encoding.PEM), 0o644)


def _sign(pki: Pki, leaf: Leaf, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in leaf.organizations]
    name = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name)])
    uses = [ExtendedKeyUsageOID.SERVER_AUTH] * leaf.server + [ExtendedKeyUsageOID.CLIENT_AUTH] * leaf.client
    builder = (
        _builder(name, ca.subject, key.public_key(), now, VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(_authority_id(ca), critical=False)
    )
    if leaf.names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in leaf.names]), critical=False)
    _write_key(pki.key(leaf.file), key)
    _write(pki.cert(leaf.file), builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), 0o644)


def _authority_id(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The CA's own identifier where it has one: it need not be a hash of its key."""
    try:
        found = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        public = ca.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, validity: timedelta) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - SKEW).not_valid_after(now + validity)


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(path, pem, 0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all: a crash while writing must not leave half a key."""
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
