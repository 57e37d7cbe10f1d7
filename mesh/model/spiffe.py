"""SpiffeId: who a workload is. Source: SPIFFE-ID 2.1 and 2.2 (trust domain, path), Istio's path scheme."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_TRUST_DOMAIN = "cluster.local"

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z")
# SPIFFE-ID 2.2: letters, digits, dots, dashes and underscores, but not "." or ".."; Kubernetes' names are narrower.
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]+\Z")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """`spiffe://<trust_domain>/ns/<namespace>/sa/<service_account>`. Raises: ValueError: a part has no place in an id."""

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        if not is_trust_domain(self.trust_domain):
            raise ValueError(
                f"{self.trust_domain!r} is no trust domain: lower-case letters, digits, dots, dashes, underscores"
            )
        for part in (self.namespace, self.service_account):
            if not _SEGMENT.match(part):
                raise ValueError(f"{part!r} cannot be part of a SPIFFE id")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def is_trust_domain(text: str) -> bool:
    """SPIFFE-ID 2.1: at most 255 of a-z, 0-9, dot, dash and underscore."""
    return _TRUST_DOMAIN.match(text) is not None
