"""x-forwarded-client-cert: what a proxy tells servers about the certificate that its client has shown.

Source: Envoy, "HTTP header manipulation", x-forwarded-client-cert: one element per proxy, in the order By, Hash, Cert, Chain,
Subject, URI, DNS; what is said of the certificate beside its hash is the connection manager's choice.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from mesh.model.listener import CertificateDetail, ClientCertificate
from mesh.proxy.observe.record import CertificateRule
from mesh.proxy.peer_names import PeerCertificate, alternative_names

# RFC 4514 3: these have short names; other attributes go by the name that OpenSSL gives them.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED = ',+"\\<>;'


def rule_of(policy: ClientCertificate, has_certificate: bool) -> CertificateRule:
    """What becomes of the header. Args: has_certificate: the client has shown one."""
    if policy is ClientCertificate.ALWAYS_FORWARD:
        return CertificateRule.KEEP
    return _RULES[policy] if has_certificate else CertificateRule.REMOVE


_RULES = {
    ClientCertificate.SANITIZE: CertificateRule.REMOVE,
    ClientCertificate.FORWARD_ONLY: CertificateRule.KEEP,
    ClientCertificate.APPEND: CertificateRule.APPEND,
    ClientCertificate.REPLACE: CertificateRule.REPLACE,
}


def client_certificate(
    certificate: PeerCertificate, der: bytes, details: Collection[CertificateDetail], by: str = ""
) -> bytes:
    """One element of the header. Args: certificate: as `getpeercert` decodes it. by: our own SPIFFE id, "" = not said."""
    parts = [f"By={_value(by)}"] if by else []
    parts.append(f"Hash={sha256(der).hexdigest()}")
    # OpenSSL's binding shows the leaf alone, and the leaf is a chain of one.
    for detail, key in ((CertificateDetail.CERT, "Cert"), (CertificateDetail.CHAIN, "Chain")):
        if detail in details:
            parts.append(f'{key}="{quote(ssl.DER_cert_to_PEM_cert(der), safe="")}"')
    if CertificateDetail.SUBJECT in details:
        parts.append(f'Subject="{_quoted(distinguished_name(certificate.get("subject", ())))}"')
    names = alternative_names(certificate)
    if CertificateDetail.URI in details:
        parts += [f"URI={_value(value)}" for kind, value in names if kind == "URI"]
    if CertificateDetail.DNS in details:
        parts += [f"DNS={_value(value)}" for kind, value in names if kind == "DNS"]
    return ";".join(parts).encode("ascii", "replace")


def distinguished_name(subject: Any) -> str:
    """RFC 4514: the most specific attribute first. Args: subject: Python's tuple of tuples of pairs."""
    names = ["+".join(f"{_SHORT.get(key, key)}={_escape(value)}" for key, value in part) for part in subject]
    return ",".join(reversed(names))


def _escape(value: str) -> str:
    escaped = "".join("\\" + char if char in _ESCAPED else char for char in value)
    return "\\" + escaped if escaped[:1] in ("#", " ") else escaped


def _quoted(value: str) -> str:
    # Inside the header's own quotes; nothing of a certificate may end the line.
    safe = "".join(char if char.isprintable() else " " for char in value)
    return safe.replace("\\", "\\\\").replace('"', '\\"')


def _value(text: str) -> str:
    # Envoy quotes values that hold one of the header's own separators.
    return f'"{_quoted(text)}"' if any(char in text for char in ',;="') or not text.isprintable() else text
