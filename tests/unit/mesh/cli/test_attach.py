"""What `sandbox up --kubeconfig` refuses before it touches anything, and what it writes. On a real server: tests/e2e with --kube=real."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from mesh.cli import attach
from mesh.cli.failure import CommandError
from mesh.cli.kube import Kube
from mesh.sandbox import pki
from mesh.sandbox.attachment import CONTROLLERS, Attachment
from mesh.sandbox.layout import Layout
from tests.support.apiserver import running


def kubeconfig(directory: Path, server: str = "https://127.0.0.1:1") -> Path:
    """With its CA beside it, as files."""
    keys = pki.ensure(directory / "pki")
    path = directory / "kubeconfig"
    user = {"client-certificate": "pki/admin.crt", "client-key": str(keys.key("admin"))}
    other = {"name": "other", "user": {"token": "secret"}}
    path.write_text(json.dumps({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, "certificate-authority": str(keys.ca)}}], "users": [{"name": "u", "user": user}, other],
    }))  # fmt: skip
    return path


def test_the_current_context_is_kept_alone_with_its_files_inside(tmp_path: Path) -> None:
    found = attach._flattened(kubeconfig(tmp_path))
    assert [user["name"] for user in found["users"]] == ["u"]
    user: dict[str, Any] = found["users"][0]["user"]
    assert set(user) == {"client-certificate-data", "client-key-data"}
    assert base64.b64decode(user["client-certificate-data"]) == (tmp_path / "pki/admin.crt").read_bytes()
    assert "secret" not in json.dumps(found)


def test_credentials_of_the_daemons_are_their_own_and_lead_inside(tmp_path: Path) -> None:
    admin = attach._flattened(kubeconfig(tmp_path))
    leaves = attach.credentials(Attachment("https://127.0.0.1:1", ("loadbalancers", "scheduler")))
    keys = pki.issue(pki.Pki(tmp_path / "pki"), tmp_path / "issued", leaves)
    found = attach._inside_kubeconfig(keys, "node", ("198.18.0.1", 6443), "127.0.0.1", admin["clusters"][0]["cluster"])
    place = found["clusters"][0]["cluster"]
    assert (place["server"], place["tls-server-name"]) == ("https://198.18.0.1:6443", "127.0.0.1")
    cert = x509.load_pem_x509_certificate(base64.b64decode(found["users"][0]["user"]["client-certificate-data"]))
    assert cert.subject.rfc4514_string() == "CN=system:node:node,O=system:nodes"
    names = {leaf.file: x509.load_pem_x509_certificate(keys.cert(leaf.file).read_bytes()).subject.rfc4514_string() for leaf in leaves if leaf.client}
    assert (names["proxy"], names["scheduler"], names["controllers"]) == ("CN=system:kube-proxy", "CN=system:kube-scheduler", "CN=triomesh:sandbox-controllers")
    assert not (tmp_path / "issued/ca.key").exists(), "the CA's key stays where it is"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda d: (d / "kubeconfig").write_text("{"), "not a kubeconfig with a current context"),
        (lambda d: (d / "kubeconfig").write_text("{}"), "not a kubeconfig with a current context"),
        (lambda d: (d / "pki/admin.crt").unlink(), "not a kubeconfig with a current context"),
        (lambda d: (d / "pki/ca.key").unlink(), "name with --pki the directory of the CA"),
    ],
)
def test_what_cannot_be_used_is_said_in_words(tmp_path: Path, break_it: Any, words: str) -> None:
    path = kubeconfig(tmp_path)
    break_it(tmp_path)
    with pytest.raises(CommandError, match=words):
        attach.attach(Layout("x", tmp_path / "x"), path, None, "auto", with_mesh=True)
    assert not (tmp_path / "x").exists()


def test_another_servers_ca_is_refused(tmp_path: Path) -> None:
    pki.ensure(tmp_path / "other/pki")
    with pytest.raises(CommandError, match="is not the CA of the kubeconfig's cluster"):
        attach.attach(Layout("x", tmp_path / "x"), kubeconfig(tmp_path), tmp_path / "other/pki", "auto", with_mesh=True)


def test_a_sandbox_with_its_own_server_is_not_attached(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/state.db").touch()
    with pytest.raises(CommandError, match="sandbox x has an API server of its own"):
        attach.attach(Layout("x", tmp_path / "x"), kubeconfig(tmp_path), None, "auto", with_mesh=True)


@pytest.mark.parametrize(("text", "found"), [("127.0.0.1:4317", "127.0.0.1:4317"), ("[::1]:4317", "[::1]:4317"), ("localhost:1", ("127.0.0.1:1", "[::1]:1"))])
def test_host_addresses(text: str, found: str | tuple[str, ...]) -> None:
    assert attach.host_address(text) in (found if isinstance(found, tuple) else (found,))


@pytest.mark.parametrize("text", ["4317", "127.0.0.1", "127.0.0.1:otlp", "no.such.host.invalid:1"])
def test_what_is_no_host_and_port(text: str) -> None:
    with pytest.raises(CommandError, match="is no HOST:PORT that this machine can resolve"):
        attach.host_address(text)


@pytest.mark.parametrize("managers", [(), ("loadbalancers",), ("endpoints", "garbage"), CONTROLLERS[:-1]])
def test_each_controller_that_runs_has_its_role_and_no_other(managers: tuple[str, ...]) -> None:
    wanted = {f"triomesh:sandbox-{name}" for name in (*managers, *(["events"] if managers else []))}
    found = attach._rbac(managers)
    assert {item["metadata"]["name"] for item in found} == wanted
    assert {item["kind"] for item in found} == ({"ClusterRole", "ClusterRoleBinding"} if managers else set())


def test_who_does_not_run_gets_no_certificate() -> None:
    files = {leaf.file for leaf in attach.credentials(Attachment("https://127.0.0.1:1", ()))}
    assert files == {"kubelet", "node", "proxy"}


def test_a_server_that_lets_no_node_in_is_told_so(tmp_path: Path) -> None:
    """Ours has no Node authorizer."""
    with running(tmp_path / "state") as server, pytest.raises(CommandError, match="--authorization-mode=Node,RBAC"):
        attach._check_node_authorizer(Kube(str(server.kubeconfig)))


def test_dns_is_made_once(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server:
        kube = Kube(str(server.kubeconfig))
        before = kube.get("v1", "Service", "kube-dns", "kube-system")["metadata"]["uid"]
        attach._make_dns(kube)
        assert kube.get("v1", "Service", "kube-dns", "kube-system")["metadata"]["uid"] == before
        kube.delete("v1", "Service", "kube-dns", "kube-system")
        kube.delete("discovery.k8s.io/v1", "EndpointSlice", "kube-dns", "kube-system")
        attach._make_dns(kube)
        assert kube.get("v1", "Service", "kube-dns", "kube-system")["spec"]["clusterIP"] == "198.19.0.10"
