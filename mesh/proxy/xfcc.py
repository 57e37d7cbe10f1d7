"""x-forwarded-client-cert: what an edge tells servers about the certificate that its client has shown.

Source: Envoy, "HTTP header manipulation", x-forwarded-client-cert, with the details that Istio's gateways set
(Hash, Cert, Subject, URI, DNS).
"""

from __future__ import annotations

import ssl
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from mesh.proxy.tls_context import PeerCertificate, alternative_names

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


def client_certificate(certificate: PeerCertificate, der: bytes) -> bytes:
    """The header's value. Args: certificate: as `getpeercert` decodes it."""
    pem = ssl.DER_cert_to_PEM_cert(der)
    parts = [
        f"Hash={sha256(der).hexdigest()}",
        f'Cert="{quote(pem, safe="")}"',
        f'Subject="{_quoted(distinguished_name(certificate.get("subject", ())))}"',
    ]
    names = alternative_names(certificate)
    parts += [f"URI={_value(value)}" for kind, value in names if kind == "URI"]
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
