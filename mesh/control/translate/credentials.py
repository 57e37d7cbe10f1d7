"""Credentials: the Secrets that a gateway's server names, as what a proxy is served by SDS.

Istio's names and keys: `tls.crt`, `tls.key` and `ca.crt` (or `cert`, `key`, `cacert`); what clients' certificates are
verified by may be in a Secret of its own, `<name>-cacert`. A Gateway API reference into another namespace needs a
ReferenceGrant there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.control.kube import gateway_api
from mesh.control.kube.objects import Key, KubeSecret
from mesh.control.kube.world import World
from mesh.model.match import StringMatch
from mesh.model.secret import Secret, TlsCertificate, TrustBundle

_CERTIFICATE = ("tls.crt", "cert")
_PRIVATE_KEY = ("tls.key", "key")
_ROOTS = ("ca.crt", "cacert")
_ROOTS_SUFFIX = "-cacert"


@dataclass(frozen=True, slots=True)
class Credentials:
    """certificates: usable ones. trust: what clients are verified by, None = they are not (or `problems` says why).

    problems: why the server cannot be opened as asked for.
    """

    certificates: tuple[Secret, ...] = ()
    trust: Secret | None = None
    problems: tuple[str, ...] = ()


def credentials(
    world: World,
    names: Iterable[Key],
    places: Iterable[str],
    verifies_clients: bool = False,
    client_names: tuple[StringMatch, ...] = (),
    referrer: str = "",
) -> Credentials:
    """What the server's Secrets hold.

    Args: names: namespace "" = in the first of `places` that has it. client_names: one of them must be in a client's
        certificate. referrer: namespace of the Gateway API Gateway that names them; "" = an Istio Gateway.
    """
    certificates: list[Secret] = []
    problems: list[str] = []
    trust: Secret | None = None
    searched = tuple(dict.fromkeys(places))
    for namespace, name in names:
        if namespace and referrer and namespace != referrer and not _is_granted(world, referrer, namespace, name):
            problems.append(f"no ReferenceGrant in {namespace} allows Secret {name} to be used")
            continue
        where = (namespace,) if namespace else searched
        found = _find(world, name, where)
        if found is None:
            problems.append(f"there is no TLS Secret {name} in {' or '.join(where)}; the server is not opened")
            continue
        chain, key = _first(found.data, _CERTIFICATE), _first(found.data, _PRIVATE_KEY)
        if not chain or not key:
            problems.append(f"Secret {name} lacks tls.crt or tls.key; the server is not opened")
            continue
        certificates.append(Secret(resource_name(found), certificate=TlsCertificate(chain, key)))
        if verifies_clients and trust is None:
            trust = _trust(world, found, name, where, client_names)
            if trust is None:
                problems.append(
                    f"neither Secret {name}{_ROOTS_SUFFIX} nor Secret {name} has a ca.crt to verify clients by; "
                    "the server is not opened"
                )
    return Credentials(tuple(certificates), trust, tuple(problems))


def resource_name(secret: KubeSecret) -> str:
    """Of the SDS resource."""
    return f"kubernetes://{secret.meta.namespace}/{secret.meta.name}"


def _trust(
    world: World, found: KubeSecret, name: str, where: tuple[str, ...], names: tuple[StringMatch, ...]
) -> Secret | None:
    own = _find(world, name + _ROOTS_SUFFIX, where)
    roots = _first((own or found).data, _ROOTS)
    resource = resource_name(own) if own is not None else resource_name(found) + _ROOTS_SUFFIX
    return Secret(resource, trust=TrustBundle(roots, names)) if roots else None


def _find(world: World, name: str, places: tuple[str, ...]) -> KubeSecret | None:
    return next((world.secrets[place, name] for place in places if (place, name) in world.secrets), None)


def _first(data: Mapping[str, bytes], keys: Iterable[str]) -> bytes:
    return next((data[key] for key in keys if data.get(key)), b"")


def _is_granted(world: World, referrer: str, namespace: str, name: str) -> bool:
    source = (gateway_api.GROUP, "Gateway", referrer)
    return any(
        source in grant.sources and not _targets(name).isdisjoint(grant.targets) for grant in _grants(world, namespace)
    )


def _grants(world: World, namespace: str) -> Iterator[gateway_api.ReferenceGrant]:
    return (grant for grant in world.reference_grants.values() if grant.meta.namespace == namespace)


def _targets(name: str) -> frozenset[tuple[str, str, str]]:
    return frozenset((("", "Secret", name), ("", "Secret", "")))
