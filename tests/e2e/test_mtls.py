"""Mutual TLS between pods as it is seen from outside: on every hop, in both modes, and while the CA is away or changes."""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client.parser import text_string_to_metric_families

from tests.support.mesh_sandbox import NAMESPACE, SYSTEM, Mesh, kill, until, unwanted

pytestmark = [pytest.mark.root, pytest.mark.e2e]

RPS = 25.0
PAGES = 30
SWITCHES = 3
# Longer than proxies take to look at the roots' file (15 s); then the rest of the life of a CA.
OVERLAP_SECONDS, SHORT_SECONDS = 20, 40
GATEWAY = ("triomesh-ingressgateway", f"spiffe://cluster.local/ns/{SYSTEM}/sa/triomesh-ingressgateway")
# Reviews take turns, of which the first version asks no ratings.
EDGES = [("triomesh-ingressgateway", "productpage-v1"), ("productpage-v1", "details-v1")]
EDGES += [("productpage-v1", f"reviews-v{number}") for number in (1, 2, 3)] + [(f"reviews-v{number}", "ratings-v1") for number in (2, 3)]
REVIEWS, DETAILS = "http://reviews:9080/reviews/0", "http://details:9080/details/0"

PEER_AUTHENTICATION = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: %s}
spec: {mtls: {mode: %s}}
"""
OUTSIDER = """
apiVersion: v1
kind: Pod
metadata: {name: outsider, labels: {app: outsider, sidecar.triomesh.io/inject: "false"}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: app, image: "python:3.11", command: [sleep, infinity]}
"""
Hop = tuple[str, str, str, str, str]
"""(source workload, destination workload, policy, source principal, destination principal), as the server saw it."""
SetMode = Callable[[str], None]


@pytest.fixture
def outsider(mesh: Mesh) -> Iterator[Mesh]:
    """A pod `outsider` without a sidecar."""
    mesh.cluster.apply(OUTSIDER, NAMESPACE)
    mesh.kubectl("wait", "pod/outsider", "--for=condition=Ready", "--timeout=30s", namespace=NAMESPACE)
    yield mesh
    mesh.kubectl("delete", "pod/outsider", "--wait=true", namespace=NAMESPACE)


@pytest.fixture
def mode(outsider: Mesh) -> Iterator[SetMode]:
    """Sets the mesh's mode, and returns when every service of bookinfo that `outsider` asks has it."""

    def is_set(wanted: str) -> bool:
        return all(answer(outsider, url) == wanted for url in (REVIEWS, REVIEWS, REVIEWS, DETAILS))

    def change(name: str) -> None:
        outsider.kubectl("apply", "-f", "-", stdin=PEER_AUTHENTICATION % (SYSTEM, name))
        until(lambda: is_set("000" if name == "STRICT" else "200"), f"{name} is in force")

    yield change
    outsider.kubectl("delete", "peerauthentications.security.istio.io", "--all", namespace=SYSTEM)
    until(lambda: is_set("200"), "plaintext is accepted again")


class OperatorCa:
    """A root of an operator's, and what he gives to the mesh: an intermediate, in Istio's Secret `cacerts`."""

    name = "an operator's intermediate"

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an operator's root")])
        self._root = self._sign(self._name, self._key.public_key(), timedelta(days=2))

    def secret(self, lifetime: timedelta) -> str:
        """A manifest with another intermediate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)]), key.public_key(), lifetime)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files = {"ca-cert.pem": certificate, "ca-key.pem": private, "root-cert.pem": self._root, "cert-chain.pem": certificate + self._root}
        return json.dumps(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts"}, "stringData": {name: data.decode() for name, data in files.items()}}
        )

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number(), now - timedelta(minutes=2), now + lifetime)
        return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def answer(mesh: Mesh, url: str) -> str:
    """The status that `outsider` is answered in plaintext; "000" when there is no answer."""
    command = ["curl", "-s", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}", url]
    return mesh.cluster.run("exec", "outsider", "--", *command, namespace=NAMESPACE, check=False).stdout


def hops(mesh: Mesh) -> Counter[Hop]:
    """Requests that servers' proxies counted."""
    found: Counter[Hop] = Counter()
    for text in mesh.metrics().values():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                label = sample.labels
                if sample.name == "istio_requests_total" and label["reporter"] == "destination":
                    key = (label["source_workload"], label["destination_workload"], label["connection_security_policy"])
                    found[*key, label["source_principal"], label["destination_principal"]] += int(sample.value)
    return found


def principal(workload: str) -> str:
    name, own = GATEWAY
    return own if workload == name else f"spiffe://cluster.local/ns/{NAMESPACE}/sa/bookinfo-{workload.rpartition('-')[0]}"


EVERY_HOP = {(source, target, "mutual_tls", principal(source), principal(target)) for source, target in EDGES}


def pages(mesh: Mesh) -> set[Hop]:
    """The hops of pages that were all answered."""
    before = hops(mesh)
    answers = mesh.client().many("/productpage", PAGES)
    assert {one.status for one in answers} == {200}, Counter((one.status, one.body[:100]) for one in answers)
    return set(hops(mesh) - before)


def serial(mesh: Mesh, workload: str) -> str:
    """Serial number of a sidecar's certificate, as meshctl shows it."""
    lines = mesh.meshctl("proxy-config", "secret", f"deploy/{workload}").splitlines()
    assert lines[0].split("  ")[0] == "RESOURCE NAME"
    (row,) = [line.split() for line in lines if line.startswith("default ")]
    assert row[1:5] == ["Cert", "Chain", "ACTIVE", "true"], row
    return row[5]


def test_every_hop_of_a_page_is_mutual_tls(bookinfo: Mesh) -> None:
    assert pages(bookinfo) == EVERY_HOP


def test_a_plaintext_client_is_served_until_the_mesh_is_strict(bookinfo: Mesh, outsider: Mesh, mode: SetMode) -> None:
    mesh = bookinfo
    assert [answer(mesh, url) for url in (REVIEWS, DETAILS)] == ["200", "200"]
    mode("STRICT")
    assert pages(mesh) == EVERY_HOP
    assert set(mesh.await_pods().values()) == {"2/2", "1/1"}  # probes and metrics pass by
    mode("PERMISSIVE")
    assert [answer(mesh, url) for url in (REVIEWS, DETAILS)] == ["200", "200"]


def test_istios_rules_with_mutual_tls_work_in_a_strict_mesh(bookinfo: Mesh, mode: SetMode) -> None:
    bookinfo.apply_file("networking/destination-rule-all-mtls.yaml")
    mode("STRICT")
    assert pages(bookinfo) == EVERY_HOP


def test_a_stranger_is_shown_who_answers_and_is_not_let_in(bookinfo: Mesh, outsider: Mesh) -> None:
    """Without a certificate of the mesh nobody speaks mutual TLS."""
    found = outsider.peer("outsider", "handshake", "reviews", 9080)
    assert found == {"names": [principal("reviews-v1")], "alpn": "istio", "answer": "refused"}


def test_changing_the_mode_under_load_fails_no_request(bookinfo: Mesh, mode: SetMode) -> None:
    before = bookinfo.answers()
    with bookinfo.load(rps=RPS) as load:
        for _ in range(SWITCHES):
            mode("STRICT")
            mode("PERMISSIVE")
    assert load.statuses() == {200}, load.failed()
    assert unwanted(bookinfo.answers() - before) == {}


@pytest.fixture
def without_control_plane(mesh: Mesh) -> Iterator[Mesh]:
    """The control plane, which is the CA, is scaled to nothing; back afterwards."""
    mesh.kubectl("scale", "deployment/triomesh-control", "--replicas=0", namespace=SYSTEM)
    until(lambda: not mesh.kube.list("v1", "Pod", SYSTEM, "app=triomesh-control"), "the control plane is gone")
    yield mesh
    mesh.kubectl("scale", "deployment/triomesh-control", "--replicas=1", namespace=SYSTEM)
    mesh.kubectl("rollout", "status", "deployment/triomesh-control", "--timeout=50s", namespace=SYSTEM)


def test_without_a_control_plane_a_restarted_proxy_still_has_its_certificate(bookinfo: Mesh, without_control_plane: Mesh) -> None:
    mesh = bookinfo
    pod, before = mesh.pod("app=details"), serial(mesh, "details-v1")
    status = next(one for one in pod["status"]["containerStatuses"] if one["name"] == "triomesh-proxy")
    (pid,) = mesh.processes(pod, "mesh.proxy")
    kill(pid)

    def restarted() -> bool:
        now = next(one for one in mesh.pod("app=details")["status"]["containerStatuses"] if one["name"] == "triomesh-proxy")
        return now["restartCount"] == status["restartCount"] + 1 and now["ready"]

    until(restarted, "the proxy is started again and ready")
    assert serial(mesh, "details-v1") == before
    assert pages(mesh) == EVERY_HOP  # on connections that were not there before


RESTARTED = ("productpage-v1", "details-v1")
PORTS = {"MUTUAL_TLS": 15012, "NONE": 15010}


def restart_with(mesh: Mesh, policy: str) -> None:
    """Let the mesh's new pods have this policy, by its port alone, and make new ones."""
    found = mesh.cluster.get("configmap", SYSTEM, "triomesh")
    text = re.sub(r"(discoveryAddress: .*):\d+", rf"\g<1>:{PORTS[policy]}", found["data"]["mesh"])
    mesh.kubectl("patch", "configmap/triomesh", "-p", json.dumps({"data": {"mesh": text}}), namespace=SYSTEM)

    def is_known() -> bool:
        dry = mesh.kubectl("run", "nobody", "--image=pause", "--dry-run=server", "-o", "json", namespace=NAMESPACE)
        return ("security.istio.io/tlsMode" in json.loads(dry)["metadata"]["labels"]) is (policy == "MUTUAL_TLS")

    until(is_known, "the injector knows")
    for name in RESTARTED:
        mesh.kubectl("rollout", "restart", f"deployment/{name}", namespace=NAMESPACE)
    for name in RESTARTED:
        mesh.kubectl("rollout", "status", f"deployment/{name}", "--timeout=50s", namespace=NAMESPACE)


@pytest.fixture
def restart(bookinfo: Mesh) -> Iterator[Callable[[str], None]]:
    """`restart_with`; identities are back afterwards."""
    last = ["MUTUAL_TLS"]

    def change(policy: str) -> None:
        last.append(policy)
        restart_with(bookinfo, policy)

    yield change
    if last[-1] != "MUTUAL_TLS":
        restart_with(bookinfo, "MUTUAL_TLS")


def test_identities_are_taken_and_given_without_a_failed_request(bookinfo: Mesh, restart: Callable[[str], None]) -> None:
    """As a mesh that has none gets them: pod by pod, under load."""
    mesh = bookinfo
    before = mesh.answers()
    with mesh.load(rps=RPS) as load:
        restart("NONE")
        without = pages(mesh)
        restart("MUTUAL_TLS")
        until(lambda: pages(mesh) == EVERY_HOP, "the last plaintext connections have ended")
    assert load.statuses() == {200}, load.failed()
    assert unwanted(mesh.answers() - before) == {}
    plain = {(source, target) for source, target, policy, _, _ in without if policy == "none"}
    assert plain == {(source, target) for source, target in EDGES if {source, target} & set(RESTARTED)}


def roots(mesh: Mesh) -> int:
    """How many roots the mesh has."""
    return str(mesh.cluster.get("configmap", NAMESPACE, "triomesh-ca-root-cert")["data"]["root-cert.pem"]).count("BEGIN CERTIFICATE")


def life(mesh: Mesh, workload: str) -> float:
    """Seconds that a sidecar's certificate is good for."""
    (row,) = [one for one in mesh.meshctl_json("proxy-config", "secret", f"deploy/{workload}") if one["name"] == "default"]
    (leaf, *_) = x509.load_pem_x509_certificates(base64.b64decode(row["tls_certificate"]["certificate_chain"]["inline_bytes"]))
    return (leaf.not_valid_after_utc - datetime.now(UTC)).total_seconds()


@pytest.fixture
def overlap(bookinfo: Mesh) -> Iterator[Mesh]:
    """Another CA signs as soon as its root has been known for OVERLAP_SECONDS; the mesh's own CA comes back afterwards."""
    mesh = bookinfo
    mesh.kubectl("set", "env", "deployment/triomesh-control", f"TRIOMESH_CA_OVERLAP={OVERLAP_SECONDS}", namespace=SYSTEM)
    mesh.kubectl("rollout", "status", "deployment/triomesh-control", "--timeout=50s", namespace=SYSTEM)
    yield mesh
    mesh.kubectl("delete", "secret/cacerts", "--ignore-not-found", namespace=SYSTEM)
    mesh.kubectl("set", "env", "deployment/triomesh-control", "TRIOMESH_CA_OVERLAP-", namespace=SYSTEM)
    mesh.kubectl("rollout", "status", "deployment/triomesh-control", "--timeout=50s", namespace=SYSTEM)


def test_an_operators_ca_takes_over_and_certificates_are_renewed_under_load(overlap: Mesh) -> None:
    """Another root, and under it a CA that ends within the minute: what it signs is as short-lived, and renewed before it ends."""
    mesh = overlap
    own = mesh.cluster.get("secret", SYSTEM, "triomesh-ca-secret")["data"]
    before = mesh.answers()
    operator = OperatorCa()
    with mesh.load(rps=RPS) as load:
        mesh.kubectl("delete", "secret/triomesh-ca-secret", namespace=SYSTEM)
        until(lambda: mesh.cluster.run("get", "secret/triomesh-ca-secret", namespace=SYSTEM, check=False).returncode == 0, "a lost CA is restored")
        assert mesh.cluster.get("secret", SYSTEM, "triomesh-ca-secret")["data"] == own
        mesh.cluster.apply(operator.secret(timedelta(seconds=OVERLAP_SECONDS + SHORT_SECONDS)), SYSTEM)
        until(lambda: roots(mesh) == 2, "both roots are known")
        until(lambda: operator.name in mesh.kubectl("logs", "deploy/triomesh-control", namespace=SYSTEM), "the operator's CA signs")
        # A new pod is the first to have a certificate of the new CA; its peers have theirs from the old one.
        mesh.kubectl("rollout", "restart", "deployment/details-v1", namespace=NAMESPACE)
        mesh.kubectl("rollout", "status", "deployment/details-v1", "--timeout=50s", namespace=NAMESPACE)
        assert 0 < life(mesh, "details-v1") < SHORT_SECONDS
        first = serial(mesh, "details-v1")
        until(lambda: serial(mesh, "details-v1") != first, "the certificate is renewed before it ends", SHORT_SECONDS)
        mesh.cluster.apply(operator.secret(timedelta(days=1)), SYSTEM)
        until(lambda: life(mesh, "details-v1") > SHORT_SECONDS, "the next one is from the CA's next certificate", SHORT_SECONDS)
    assert load.statuses() == {200}, load.failed()
    assert unwanted(mesh.answers() - before) == {}
    assert pages(mesh) == EVERY_HOP
