"""Roots: the mesh's trust bundle, and since when each root has been in it.

A root is published before anything is signed under it, and stays for as long as leaves may live after it was replaced.
The record outlives the process in the Secret `triomesh-ca-roots`: a Secret, because who may write it decides whom the
mesh trusts.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from mesh.control.ca import fingerprint, pem, unix

ROOTS_SECRET = "triomesh-ca-roots"
ROOTS_TYPE = "triomesh.io/ca-roots"
ROOTS, RECORD = "root-cert.pem", "record.json"
FROM_THE_START = 0.0


@dataclass(frozen=True, slots=True)
class Root:
    """since: Unix seconds when it was published, FROM_THE_START for the first ones. until: when it leaves; None = wanted."""

    certificate: x509.Certificate
    since: float
    until: float | None = None


Bundle = Mapping[str, Root]
"""By fingerprint, in the order of publishing."""


def merged(
    published: Bundle | None, wanted: Iterable[x509.Certificate], now: float, retire_seconds: float
) -> dict[str, Root]:
    """The bundle to publish: what is wanted and what is not to go yet.

    Args: published: None when there was never one: then nobody has to learn anything.
    """
    since = FROM_THE_START if published is None else now
    bundle: dict[str, Root] = {}
    for certificate in wanted:
        name = fingerprint(certificate)
        known = (published or {}).get(name)
        bundle[name] = Root(certificate, known.since if known else since)
    for name, root in (published or {}).items():
        # The shorter of what was meant and what is meant now: after a theft nothing waits for the old date.
        until = min(root.until if root.until is not None else float("inf"), now + retire_seconds)
        if name not in bundle and now < min(until, unix(root.certificate.not_valid_after_utc)):
            bundle[name] = Root(root.certificate, root.since, until)
    return bundle


def bundle_pem(bundle: Bundle) -> str:
    return pem([root.certificate for root in bundle.values()])


def next_end(bundle: Bundle, now: float) -> float:
    """Unix seconds at which the next root leaves; inf."""
    ends = (min(root.until or float("inf"), unix(root.certificate.not_valid_after_utc)) for root in bundle.values())
    return min((end for end in ends if end > now), default=float("inf"))


def write(bundle: Bundle) -> dict[str, str]:
    """The Secret's `data`."""
    record = {name: {"since": root.since, "until": root.until} for name, root in bundle.items()}
    return {
        ROOTS: base64.b64encode(bundle_pem(bundle).encode()).decode(),
        RECORD: base64.b64encode(json.dumps(record).encode()).decode(),
    }


def read(item: Mapping[str, Any]) -> dict[str, Root]:
    """The bundle of a Secret. Raises: ValueError: not as `write` writes it."""
    values = item.get("data") or {}
    try:
        certificates = x509.load_pem_x509_certificates(base64.b64decode(values[ROOTS], validate=True))
        record = json.loads(base64.b64decode(values[RECORD], validate=True))
        return {
            name: Root(each, float(record[name]["since"]), _until(record[name]["until"]))
            for each in certificates
            for name in (fingerprint(each),)
        }
    except (KeyError, TypeError, binascii.Error, ValueError) as exc:
        raise ValueError(f"Secret {ROOTS_SECRET}: cannot be read: {exc!r}") from exc


def _until(value: Any) -> float | None:
    return None if value is None else float(value)
