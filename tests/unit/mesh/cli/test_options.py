"""Where a verb finds its API server."""

from pathlib import Path

import pytest

from mesh.cli import options
from mesh.cli.kube import KubeError


def test_the_state_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TRIOMESH_STATE", str(tmp_path))
    assert options.state_dir("a") == tmp_path / "a"
    monkeypatch.delenv("TRIOMESH_STATE")
    assert options.state_dir("a") == Path("/var/lib/triomesh/a")


@pytest.mark.parametrize("has_kubeconfig", [True, False])
def test_the_sandbox_is_used_only_without_a_kubeconfig_of_the_user_s(monkeypatch, tmp_path, has_kubeconfig):
    used = []
    monkeypatch.setattr(options, "Kube", lambda kubeconfig: used.append(kubeconfig))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRIOMESH_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("TRIOMESH_SANDBOX", raising=False)
    sandbox = tmp_path / "state/default/kubeconfig"
    sandbox.parent.mkdir(parents=True)
    sandbox.touch()
    if has_kubeconfig:
        (tmp_path / ".kube").mkdir()
        (tmp_path / ".kube/config").touch()
    options.connect(None)
    assert used == [None if has_kubeconfig else str(sandbox)]


def test_nothing_at_all_is_an_error_that_teaches(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRIOMESH_STATE", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(KubeError, match="the running sandbox"):
        options.connect(None)
