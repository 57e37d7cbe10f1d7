"""Paths of the API and kubeconfig files."""

from pathlib import Path

import pytest

from mesh.sandbox.kubeclient import DEPLOYMENTS, NODES, PODS, read_kubeconfig


def test_paths() -> None:
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("ns", "p", "status") == "/api/v1/namespaces/ns/pods/p/status"
    assert DEPLOYMENTS.path("ns") == "/apis/apps/v1/namespaces/ns/deployments"
    assert NODES.path("ignored", "n") == "/api/v1/nodes/n"
    assert (PODS.api_version, DEPLOYMENTS.api_version) == ("v1", "apps/v1")


def test_a_kubeconfig_without_context_says_so(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("contexts: []\ncurrent-context: x\n")
    with pytest.raises(ValueError, match="not a kubeconfig with a current context"):
        read_kubeconfig(file)


def test_a_token_and_server_are_read(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(
        "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
        "clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1/'}}]\nusers: [{name: u, user: {token: t}}]\n"
    )
    access = read_kubeconfig(file)
    assert (access.server, access.token) == ("https://127.0.0.1:1", "t")
