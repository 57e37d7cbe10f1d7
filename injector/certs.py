"""Certs: the webhook's own certificate authority and serving certificate, and when which of them is replaced.

Pure: every step is a function of (what there is, now). Phases of an exchange of the CA, so that at every moment
the API server trusts what we serve, also through its lagging caches and with several replicas of us:

    current                       the normal state
    current + next                next is in caBundle already; we serve by current   (for SETTLE)
    retired + current (was next)  we serve by the new one; the old one still trusted (for SETTLE)
    current                       done

The time of each phase is read from the certificates themselves: no state beside the Secret.
"""

import base64
import datetime as dt
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Instant = dt.datetime

CA_LIFETIME = dt.timedelta(days=3650)
LEAF_LIFETIME = dt.timedelta(days=90)
# How long a CA is in caBundle before its leaf is served, and after: API servers see the change within seconds.
SETTLE = dt.timedelta(minutes=10)
# Clocks differ between nodes.
_BACKDATE = dt.timedelta(minutes=5)
# data keys of the Secret
_KEYS = {
    "ca": "ca.crt", "ca_key": "ca.key", "next_ca": "ca-next.crt", "next_key": "ca-next.key", "retired_ca": "ca-retired.crt",
    "leaf": "tls.crt", "leaf_key": "tls.key",
}  # fmt: skip


class BadCerts(ValueError):
    """The Secret cannot be used; the message names the key. The caller makes a new one."""


@dataclass(frozen=True, slots=True)
class Certs:
    """Everything in PEM. `next_*` and `retired_ca` are "" outside an exchange."""

    ca: str
    ca_key: str
    leaf: str
    leaf_key: str
    next_ca: str = ""
    next_key: str = ""
    retired_ca: str = ""

    @property
    def bundle(self) -> str:
        """All CAs that the API server should trust, for caBundle."""
        return self.ca + self.next_ca + self.retired_ca


def create(names: tuple[str, ...], now: Instant) -> Certs:
    """A new CA and a leaf for these DNS names."""
    ca, ca_key = _make_ca(now)
    leaf, leaf_key = _make_leaf(ca, ca_key, names, now)
    return Certs(ca, ca_key, leaf, leaf_key)


def start_exchange(certs: Certs, now: Instant) -> Certs:
    """Begin to exchange the CA; no effect while an exchange is under way."""
    if certs.next_ca or certs.retired_ca:
        return certs
    next_ca, next_key = _make_ca(now)
    return replace(certs, next_ca=next_ca, next_key=next_key)


def step(certs: Certs, names: tuple[str, ...], now: Instant) -> Certs:
    """What should be in force now: the same Certs when nothing is due (see `due_at`)."""
    if certs.retired_ca and now >= _made(certs.leaf) + SETTLE:
        certs = replace(certs, retired_ca="")
    if certs.next_ca and now >= _made(certs.next_ca) + SETTLE:
        leaf, leaf_key = _make_leaf(certs.next_ca, certs.next_key, names, now)
        return Certs(certs.next_ca, certs.next_key, leaf, leaf_key, retired_ca=certs.ca)
    if now >= _exchange_at(certs):
        certs = start_exchange(certs, now)
    if now >= _renew_at(certs) or _names(certs.leaf) != set(names):
        # The CA is at its end only when we were down for years: then nothing is lost by starting afresh.
        if now + SETTLE >= _load(certs.ca).not_valid_after_utc:
            return replace(create(names, now), retired_ca=certs.ca)
        leaf, leaf_key = _make_leaf(certs.ca, certs.ca_key, names, now)
        certs = replace(certs, leaf=leaf, leaf_key=leaf_key)
    return certs


def due_at(certs: Certs) -> Instant:
    """When `step` will next have something to do."""
    times = [_renew_at(certs)]
    if certs.next_ca:
        times.append(_made(certs.next_ca) + SETTLE)
    elif certs.retired_ca:
        times.append(_made(certs.leaf) + SETTLE)
    else:
        times.append(_exchange_at(certs))
    return min(times)


def to_secret_data(certs: Certs) -> dict[str, str]:
    """The `data` of the Secret (base64)."""
    return {key: base64.b64encode(getattr(certs, field).encode()).decode() for field, key in _KEYS.items()}


def from_secret_data(data: dict[str, str]) -> Certs:
    """Certs of a Secret. Raises: BadCerts: a key is missing or is not what it should be."""
    values: dict[str, str] = {}
    for field, key in _KEYS.items():
        try:
            values[field] = base64.b64decode(data.get(key) or "", validate=True).decode()
        except ValueError as exc:
            raise BadCerts(f"data[{key}]: {exc}") from exc
    certs = Certs(**values)
    for field, private in (("ca", "ca_key"), ("leaf", "leaf_key"), ("next_ca", "next_key")):
        if field == "next_ca" and not certs.next_ca:
            continue
        try:
            matching = _load(values[field]).public_key() == _load_key(values[private]).public_key()
        except (ValueError, TypeError) as exc:
            raise BadCerts(f"data[{_KEYS[field]}] or data[{_KEYS[private]}]: {exc}") from exc
        if not matching:
            raise BadCerts(f"data[{_KEYS[private]}]: is not the key of data[{_KEYS[field]}]")
    try:
        _load(certs.leaf).verify_directly_issued_by(_load(certs.ca))
    except Exception as exc:  # InvalidSignature is no ValueError; whatever it is, the pair is of no use
        raise BadCerts(f"data[{_KEYS['leaf']}]: is not issued by data[{_KEYS['ca']}]: {exc!r}") from exc
    return certs


def _made(pem: str) -> Instant:
    return _load(pem).not_valid_before_utc + _BACKDATE


def _renew_at(certs: Certs) -> Instant:
    return _made(certs.leaf) + LEAF_LIFETIME / 2


def _exchange_at(certs: Certs) -> Instant:
    # A year of rest for whoever is down; long before a leaf could outlive its CA.
    return _load(certs.ca).not_valid_after_utc - dt.timedelta(days=365)


def _load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("is not an elliptic-curve key")
    return key


def _names(pem: str) -> set[str]:
    extension = _load(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName))


def _make_ca(now: Instant) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    # Its own name per CA: two of one name in a bundle would be told apart by trial only.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"triomesh-injector-ca-{now:%Y%m%dT%H%M%S}")])
    builder = _builder(subject, subject, key, now, CA_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    return _pem(builder.sign(key, hashes.SHA256())), _key_pem(key)


def _make_leaf(ca_pem: str, ca_key_pem: str, names: tuple[str, ...], now: Instant) -> tuple[str, str]:
    ca, ca_key, key = _load(ca_pem), _load_key(ca_key_pem), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = _builder(subject, ca.subject, key, now, LEAF_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    return _pem(builder.sign(ca_key, hashes.SHA256())), _key_pem(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: Instant, lifetime: dt.timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _BACKDATE).not_valid_after(now + lifetime)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates, key_cert_sign=sign_certificates, crl_sign=sign_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
