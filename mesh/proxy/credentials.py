"""Credentials: secrets found by name and put into OpenSSL's contexts, with words for what is wrong with them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from mesh.model.secret import FILE_CERTIFICATE, FILE_ROOTS, Secret, TlsCertificate, TrustBundle
from mesh.proxy.match import CompileError
from mesh.proxy.tls import reason_of


class SecretError(CompileError):
    """secret: which one cannot be used."""

    def __init__(self, secret: str, why: str) -> None:
        super().__init__(f"secret {secret}: {why}")
        self.secret = secret


def find_secret(name: str, secrets: Mapping[str, Secret]) -> Secret:
    """The secret of that name; names of files are read now. Raises: SecretError."""
    try:
        if name.startswith(FILE_ROOTS):
            return Secret(name, trust=TrustBundle(Path(name.removeprefix(FILE_ROOTS)).read_bytes()))
        if name.startswith(FILE_CERTIFICATE):
            chain, _, key = name.removeprefix(FILE_CERTIFICATE).partition("~")
            return Secret(name, certificate=TlsCertificate(Path(chain).read_bytes(), Path(key).read_bytes()))
    except OSError as exc:
        raise SecretError(name, str(exc)) from exc
    found = secrets.get(name)
    if found is None:
        raise SecretError(name, "is not there")
    return found


def load_certificate(context: ssl.SSLContext, secret: Secret) -> None:
    """Certificate, chain and key. Raises: SecretError."""
    if secret.certificate is None:
        raise SecretError(secret.name, "is not a certificate")
    certificate = secret.certificate
    # OpenSSL's Python binding reads files only. This one has no name, and never touches a disk.
    descriptor = os.memfd_create("certificate")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(certificate.chain_pem + b"\n" + certificate.key_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except ssl.SSLError as exc:
        raise SecretError(secret.name, _blame(certificate, exc)) from exc
    except (ValueError, OSError) as exc:
        raise SecretError(secret.name, f"cannot be loaded: {exc}") from exc
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise ValueError("the private key is encrypted")


def _blame(certificate: TlsCertificate, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the private key does not belong to the certificate"
    if b"-----BEGIN CERTIFICATE-----" not in certificate.chain_pem:
        return "there is no certificate (PEM) in its chain"
    if b"PRIVATE KEY-----" not in certificate.key_pem:
        return "there is no private key (PEM)"
    return f"cannot be loaded: {reason_of(error)}"


def load_trust(context: ssl.SSLContext, secret: Secret) -> None:
    """Whom to believe. Raises: SecretError."""
    if secret.trust is None:
        raise SecretError(secret.name, "holds no roots to trust")
    try:
        context.load_verify_locations(cadata=secret.trust.roots_pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as exc:
        raise SecretError(secret.name, f"its roots cannot be loaded: {exc}") from exc


def dns_names(secret: Secret) -> frozenset[str]:
    """The names that its certificate serves, in lower case. Raises: SecretError."""
    # Imported where several certificates make it needed: the library is large.
    from cryptography import x509

    assert secret.certificate is not None
    try:
        leaf = x509.load_pem_x509_certificate(secret.certificate.chain_pem)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    except ValueError as exc:
        raise SecretError(secret.name, f"its certificate cannot be read: {exc}") from exc
    return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))
