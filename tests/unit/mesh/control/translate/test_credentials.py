"""Which Secrets a server gets, and what is missing."""

from __future__ import annotations

import base64

from mesh.control.kube.world import World
from mesh.control.translate.credentials import credentials
from mesh.model.match import StringKind, StringMatch
from mesh.model.secret import Secret, TlsCertificate, TrustBundle
from tests.support.world import Cluster, Manifest

GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: vault}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: web}]
  to: [{group: "", kind: Secret, name: cert}]
"""


def secret(namespace: str, name: str, **data: str) -> Manifest:
    encoded = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": encoded}


def world(*items: Manifest, text: str = "") -> World:
    made = Cluster()
    made.apply(list(items))
    if text:
        made.apply(text)
    return made.world()


def test_the_gateways_own_namespace_comes_first() -> None:
    here = secret("gw", "c", tls_crt="1", tls_key="2")
    there = secret("web", "c", tls_crt="3", tls_key="4")
    found = credentials(world(here, there), [("", "c")], ("gw", "web"))
    assert found.certificates == (Secret("kubernetes://gw/c", certificate=TlsCertificate(b"1", b"2")),)
    found = credentials(world(there), [("", "c")], ("gw", "web"))
    assert [item.name for item in found.certificates] == ["kubernetes://web/c"] and found.problems == ()


def test_generic_secrets_have_keys_of_their_own() -> None:
    found = credentials(world(secret("gw", "c", cert="1", key="2", cacert="3")), [("", "c")], ("gw",), True)
    assert found.certificates[0].certificate == TlsCertificate(b"1", b"2")
    assert found.trust == Secret("kubernetes://gw/c-cacert", trust=TrustBundle(b"3"))


def test_roots_for_clients_may_be_in_a_secret_of_their_own() -> None:
    names = (StringMatch(StringKind.EXACT, "bob"),)
    both = world(secret("gw", "c", tls_crt="1", tls_key="2", ca_crt="old"), secret("gw", "c-cacert", ca_crt="new"))
    found = credentials(both, [("", "c")], ("gw",), True, names)
    assert found.trust == Secret("kubernetes://gw/c-cacert", trust=TrustBundle(b"new", names))


def test_without_roots_clients_cannot_be_verified() -> None:
    found = credentials(world(secret("gw", "c", tls_crt="1", tls_key="2")), [("", "c")], ("gw",), True)
    assert found.trust is None and "neither Secret c-cacert nor Secret c" in found.problems[0]


def test_what_is_missing_is_named_and_the_rest_used() -> None:
    items = world(secret("gw", "half", tls_crt="1"), secret("gw", "good", tls_crt="1", tls_key="2"))
    found = credentials(items, [("", "none"), ("", "half"), ("", "good")], ("gw", "web"))
    assert [item.name for item in found.certificates] == ["kubernetes://gw/good"]
    assert found.problems == (
        "there is no TLS Secret none in gw or web; the server is not opened",
        "Secret half lacks tls.crt or tls.key; the server is not opened",
    )


def test_another_namespaces_secret_needs_a_grant() -> None:
    mine = secret("vault", "cert", tls_crt="1", tls_key="2")
    refused = credentials(world(mine), [("vault", "cert")], (), referrer="web")
    assert refused.certificates == () and "no ReferenceGrant in vault" in refused.problems[0]
    granted = world(mine, text=GRANT)
    assert credentials(granted, [("vault", "cert")], (), referrer="web").problems == ()
    assert credentials(granted, [("vault", "cert")], (), referrer="other").certificates == ()
