"""The CA's Secrets: `triomesh-ca-secret` (made by us) and `cacerts` (the operator's), as data and as an Authority.

Keys as Istio's: ca-cert.pem, ca-key.pem, cert-chain.pem (from the CA towards the root; may hold both), root-cert.pem
(one root or several, of which one is the chain's). Everything is checked on load, so that what is wrong is said where it
was written and not by a thousand failed handshakes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from mesh.control.ca import Authority, PrivateKey, fingerprint, pem, unix

OWN_SECRET = "triomesh-ca-secret"
PLUGGED_SECRET = "cacerts"
OWN_TYPE = "triomesh.io/ca"

CERTIFICATE, KEY, CHAIN, ROOTS = "ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"
_MAX_PATH = 10


class CaError(ValueError):
    """A Secret holds no usable CA; the text names Secret and key."""


def load(item: Mapping[str, Any], now: float) -> Authority:
    """The Authority of a Secret as the API server sends it. Raises: CaError."""
    metadata = item.get("metadata") or {}
    return _Loader(
        f"Secret {metadata.get('namespace', '')}/{metadata.get('name', '')}", item.get("data") or {}, now
    ).load()


def data(authority: Authority) -> dict[str, str]:
    """The Secret's `data`: base64 of PEM."""
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    parts = {
        CERTIFICATE: pem([authority.certificate]).encode(),
        KEY: key,
        CHAIN: pem(authority.chain).encode(),
        ROOTS: pem(authority.roots).encode(),
    }
    return {name: base64.b64encode(value).decode() for name, value in parts.items()}


class _Loader:
    def __init__(self, where: str, values: Mapping[str, str], now: float) -> None:
        self._where = where
        self._values = values
        self._now = now

    def load(self) -> Authority:
        certificate = self._certificates(CERTIFICATE)[0]
        self._check_ca(certificate, CERTIFICATE)
        key = self._key()
        if key.public_key() != certificate.public_key():
            raise self._error(KEY, f"is not the key of {CERTIFICATE}")
        roots = self._certificates(ROOTS)
        others = self._certificates(CHAIN) if self._values.get(CHAIN) else ()
        path = self._path(certificate, others, roots)
        # A root that has ended verifies nothing; the one that we need was checked with the path.
        living = tuple(each for each in roots if unix(each.not_valid_after_utc) > self._now)
        return Authority(certificate, key, path[:-1], path[-1], living)

    def _path(
        self, certificate: x509.Certificate, others: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...]
    ) -> tuple[x509.Certificate, ...]:
        """From the CA to one of the roots, both included (they may be the same)."""
        path = [certificate]
        while path[-1] not in roots:
            issuer = next(
                (each for each in (*roots, *others) if each not in path and _has_issued(each, path[-1])), None
            )
            if issuer is None or len(path) == _MAX_PATH:
                end = path[-1].subject.rfc4514_string()
                raise self._error(
                    CHAIN, f"leads from {CERTIFICATE} to {end!r}, which no certificate in it or in {ROOTS} has issued"
                )
            self._check_ca(issuer, ROOTS if issuer in roots else CHAIN)
            path.append(issuer)
        for below, each in enumerate(path):
            limit = each.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
            if limit is not None and limit < below:
                name = each.subject.rfc4514_string()
                raise self._error(CHAIN, f"has {below} CAs below {name!r}, whose path length is {limit}")
        return tuple(path)

    def _check_ca(self, certificate: x509.Certificate, key: str) -> None:
        name = certificate.subject.rfc4514_string()
        if self._now >= unix(certificate.not_valid_after_utc):
            raise self._error(key, f"{name!r} ended at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
        if self._now < unix(certificate.not_valid_before_utc):
            raise self._error(key, f"{name!r} begins at {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} only")
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
            may_sign = constraints.ca
            may_sign = may_sign and certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        except x509.ExtensionNotFound as exc:
            # RFC 5280 4.2.1.3 wants KeyUsage of a CA, 4.2.1.9 BasicConstraints of every one.
            may_sign = exc.oid == x509.OID_KEY_USAGE
        except ValueError as exc:
            raise self._error(key, f"{name!r} has extensions that cannot be read: {exc}") from exc
        if not may_sign:
            raise self._error(key, f"{name!r} is not a CA (basicConstraints CA:TRUE and keyUsage keyCertSign)")

    def _key(self) -> PrivateKey:
        content = self._bytes(KEY)
        try:
            key = load_pem_private_key(content, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            # The library's words may quote the input: a key does not belong into a log.
            raise self._error(KEY, "is no private key in PEM without a passphrase") from exc
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size >= 256:
            return key
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
            return key
        raise self._error(KEY, "must be an RSA key of 2048 bits or more, or one on P-256, P-384 or P-521")

    def _certificates(self, name: str) -> tuple[x509.Certificate, ...]:
        content = self._bytes(name)
        try:
            found = x509.load_pem_x509_certificates(content)
        except ValueError as exc:
            raise self._error(name, f"holds no certificates in PEM: {exc}") from exc
        return tuple({fingerprint(each): each for each in found}.values())

    def _bytes(self, name: str) -> bytes:
        value = self._values.get(name)
        if not value:
            raise self._error(name, "is missing")
        try:
            return base64.b64decode(value, validate=True)
        except (ValueError, TypeError) as exc:
            raise self._error(name, "is not base64") from exc

    def _error(self, key: str, message: str) -> CaError:
        return CaError(f"{self._where} data[{key}]: {message}")


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
