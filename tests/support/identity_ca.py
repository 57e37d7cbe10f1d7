"""Certificates for the CA's tests: made with what an operator has, not with the code under test."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
NOW = 1_800_000_000.0
YEAR = 365 * 24 * 3600.0


class Maker:
    """One CA of an operator. issuer: who signs it, itself when None."""

    def __init__(
        self,
        name: str,
        issuer: Maker | None = None,
        *,
        begins: float = NOW - YEAR,
        ends: float = NOW + YEAR,
        is_ca: bool = True,
        path_length: int | None = None,
        key: Key | None = None,
    ) -> None:
        self.key: Key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at(begins))
            .not_valid_after(at(ends))
            .add_extension(x509.BasicConstraints(is_ca, path_length if is_ca else None), critical=True)
            .sign(issuer.key if issuer else self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def secret(
    ca: Maker, chain: str = "", roots: str | None = None, name: str = "cacerts", **changed: str | None
) -> dict[str, Any]:
    """A CA's Secret; `ca_key="…"` and the like replace a value, None leaves it out."""
    values: dict[str, str | None] = {
        "ca-cert.pem": ca.pem,
        "ca-key.pem": ca.key_pem,
        "cert-chain.pem": chain,
        "root-cert.pem": ca.pem if roots is None else roots,
    }
    values.update({f"{key.replace('_', '-')}.pem": value for key, value in changed.items()})
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items() if value is not None}
    return {"metadata": {"namespace": "triomesh-system", "name": name, "resourceVersion": "1"}, "data": data}


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=int(seconds))
