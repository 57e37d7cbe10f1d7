"""A workload's identity, from its token to a certificate that others can verify: the real parts, over real sockets."""

from __future__ import annotations

import base64
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
import grpc
import pytest
from cryptography import x509
from kubernetes import client

from mesh.model.node import Node, Role
from mesh.xds.kind import Kind, Variant
from mesh.xds.node import write_node
from tests.support.apiserver import ApiServer, call, running
from tests.support.identity_control import SYSTEM, Control, control_plane, csr


def until(claim: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Asks again every 50 ms: another process offers no event to wait for."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if claim():
            return
        pause.wait(0.05)
    raise AssertionError(f"never became so: {what}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running(tmp_path_factory.mktemp("identity") / "state") as server:
        with server.api() as api:
            core = client.CoreV1Api(api)
            for name in (SYSTEM, "shop"):
                core.create_namespace({"metadata": {"name": name}})
            core.create_namespaced_service_account("shop", {"metadata": {"name": "cart"}})
        yield server


@pytest.fixture(scope="module")
def control(server: ApiServer) -> Iterator[Control]:
    with control_plane(server) as control:
        control.await_ports()
        until(lambda: control.roots("shop"), "the roots are in namespace shop")
        yield control


def _uris(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def test_a_token_becomes_a_certificate_that_openssl_verifies(control: Control, tmp_path: Path) -> None:
    roots = control.roots("shop")
    answer = control.sign(
        roots, control.token("shop", "cart"), csr(None, "spiffe://cluster.local/ns/kube-system/sa/admin")
    )

    (tmp_path / "leaf.pem").write_text(answer.chain_pem)
    (tmp_path / "roots.pem").write_text(roots)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "roots.pem", "leaf.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    leaf = x509.load_pem_x509_certificate(answer.chain_pem.encode())
    assert _uris(leaf) == ["spiffe://cluster.local/ns/shop/sa/cart"]
    assert answer.roots_pem == roots
    assert "citadel_server_success_cert_issuance_count" in control.metrics()


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, grpc.StatusCode.UNAUTHENTICATED),
        ("nonsense", grpc.StatusCode.UNAUTHENTICATED),
        ("https://kubernetes.default.svc.cluster.local", grpc.StatusCode.UNAUTHENTICATED),
    ],
    ids=["no token", "no one's token", "the API server's audience"],
)
def test_who_shows_no_token_for_us_gets_nothing(control: Control, token: str | None, code: grpc.StatusCode) -> None:
    if token is not None and token.startswith("https:"):
        token = control.token("shop", "cart", token)
    with pytest.raises(grpc.RpcError) as caught:
        control.sign(control.roots("shop"), token, csr())
    assert caught.value.code() == code
    assert token is None or token not in control.log


def test_a_csr_that_is_none_is_refused_by_name(control: Control) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        control.sign(control.roots("shop"), control.token("shop", "cart"), "-----BEGIN NOTHING-----")
    assert (caught.value.code(), caught.value.details()[:5]) == (grpc.StatusCode.INVALID_ARGUMENT, "csr: ")


def _first_request(node: Node) -> bytes:
    request = discovery_pb.DeltaDiscoveryRequest(type_url=Kind.CLUSTER.value)
    request.node.CopyFrom(write_node(node))
    return bytes(request.SerializeToString())


def _stream(control: Control, node: Node, token: str | None) -> tuple[grpc.StatusCode, str]:
    """How an ADS stream of this node ends that is closed after its first answer."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        yield _first_request(node)
        done.wait(20)

    with control.channel(control.roots("shop")) as channel:
        answers = channel.stream_stream(Variant.DELTA.value)(requests(), timeout=20, metadata=metadata)
        try:
            next(answers)
        except grpc.RpcError:
            return answers.code(), answers.details()
        finally:
            done.set()
            answers.cancel()
    return grpc.StatusCode.OK, ""


def _node(namespace: str = "shop", account: str = "cart", pod: str = "cart-1") -> Node:
    return Node(
        id=f"sidecar~10.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local",
        role=Role.SIDECAR,
        ip="10.0.0.1",
        name=pod,
        namespace=namespace,
        metadata={"SERVICE_ACCOUNT": account, "NAMESPACE": namespace},
    )


@pytest.mark.parametrize(
    ("node", "code", "said"),
    [
        (_node(), grpc.StatusCode.OK, ""),
        (
            _node(namespace="default"),
            grpc.StatusCode.PERMISSION_DENIED,
            "its namespace is 'default', its token's is 'shop'",
        ),
        (_node(account="till"), grpc.StatusCode.PERMISSION_DENIED, "its metadata SERVICE_ACCOUNT is 'till'"),
        (_node(pod="cart-2"), grpc.StatusCode.PERMISSION_DENIED, "its pod is 'cart-2', its token's is 'cart-1'"),
    ],
    ids=["itself", "another namespace", "another account", "another pod"],
)
def test_a_node_is_who_its_token_says(control: Control, node: Node, code: grpc.StatusCode, said: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cart-1"}}
    pod["spec"] = {"serviceAccountName": "cart", "containers": [{"name": "app", "image": "app:1"}]}  # type: ignore[assignment]
    with control.server.api() as api:
        call(api, "POST", "/api/v1/namespaces/shop/pods", pod)
        uid = call(api, "GET", "/api/v1/namespaces/shop/pods/cart-1")[1]["metadata"]["uid"]
    token = control.token("shop", "cart", pod={"name": "cart-1", "uid": uid})
    found = _stream(control, node, token)
    assert found[0] is code, found
    assert said in found[1]


def test_a_stream_without_a_token_is_refused(control: Control) -> None:
    code, details = _stream(control, _node(), None)
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert "no authorization" in details


def test_the_roots_come_back_and_reach_new_namespaces(control: Control) -> None:
    roots = control.roots("shop")
    with control.server.api() as api:
        core = client.CoreV1Api(api)
        core.delete_namespaced_config_map("triomesh-ca-root-cert", "shop")
        core.patch_namespaced_config_map("triomesh-ca-root-cert", "default", {"data": {"root-cert.pem": "none"}})
        core.create_namespace({"metadata": {"name": "late"}})
    for namespace in ("shop", "default", "late"):
        until(lambda namespace=namespace: control.roots(namespace) == roots, f"the roots are in {namespace}")  # type: ignore[misc]


def _plug(control: Control, directory: Path) -> None:
    """The operator's CA: a root, an intermediate under it, and the Secret as Istio's documentation makes it."""
    run = lambda *words: subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)  # noqa: E731
    ca = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    run(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "root.key",
        "-out",
        "root-cert.pem",
        "-days",
        "30",
        "-subj",
        "/O=Shop/CN=root",
        *ca,
    )
    run(
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca-key.pem",
        "-out",
        "ca.csr",
        "-subj",
        "/O=Shop/CN=mesh",
        *ca,
    )
    sign = ["-CA", "root-cert.pem", "-CAkey", "root.key", "-CAcreateserial", "-copy_extensions", "copy", "-days", "20"]
    run("x509", "-req", "-in", "ca.csr", "-out", "ca-cert.pem", *sign)
    chain = (directory / "ca-cert.pem").read_text() + (directory / "root-cert.pem").read_text()
    (directory / "cert-chain.pem").write_text(chain)
    names = ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")
    data = {name: base64.b64encode((directory / name).read_bytes()).decode() for name in names}
    with control.server.api() as api:
        client.CoreV1Api(api).create_namespaced_secret(SYSTEM, {"metadata": {"name": "cacerts"}, "data": data})


def _issuer(control: Control, roots: str) -> str:
    answer = control.sign(roots, control.token("shop", "cart"), csr())
    return x509.load_pem_x509_certificates(answer.chain_pem.encode())[0].issuer.rfc4514_string()


def test_an_operators_ca_takes_over_when_its_root_is_known(server: ApiServer, tmp_path: Path) -> None:
    """With two seconds for every proxy to learn the new root: without a restart, on the same port, without a gap."""
    with control_plane(server, "--ca-overlap", "2") as control:
        control.await_ports()
        until(lambda: control.roots("shop"), "the roots are in namespace shop")
        before = control.roots("shop")
        assert _issuer(control, before) == "CN=Triomesh mesh CA,O=Triomesh"
        _plug(control, tmp_path)
        until(lambda: control.roots("shop").count("BEGIN CERTIFICATE") == 2, "old root and new are published")
        both = control.roots("shop")
        # Whoever knows the old root alone is served until the end of the overlap: none of the handshakes fails.
        until(lambda: _issuer(control, both) == "CN=mesh,O=Shop", "the operator's CA signs")
        until(
            lambda: _is_served_by(control, (tmp_path / "root-cert.pem").read_text()), "port 15012 shows its certificate"
        )
        answer = control.sign(both, control.token("shop", "cart"), csr())
        (tmp_path / "leaf.pem").write_text(answer.chain_pem)
        command = ["openssl", "verify", "-CAfile", "root-cert.pem", "-untrusted", "leaf.pem", "leaf.pem"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _is_served_by(control: Control, roots: str) -> bool:
    with control.channel(roots) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=0.5)
        except grpc.FutureTimeoutError:
            return False
    return True
