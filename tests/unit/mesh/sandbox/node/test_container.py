"""A container's Launch and its files."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.images import Image
from mesh.sandbox.layout import Layout
from mesh.sandbox.node.container import PodFiles, hosts_file, launch, not_enforced, public_id, resolv_conf
from mesh.sandbox.node.launch import SOURCE_DIR, VENV_DIR, Mount
from mesh.sandbox.node.podspec import SpecError

IMAGE = Image(("run",), (), {}, 1337, 1337, "/")


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "ns", "uid": "0000-11112222"}, "spec": {"containers": [{"name": "c"}], **spec}}


def make(tmp_path: Path, found: dict[str, Any], container: dict[str, Any]) -> Any:
    files = PodFiles(tmp_path / "pods" / "u")
    files.volume("v").mkdir(parents=True)
    return launch(Layout("a", tmp_path), files, found, {"name": "c", "image": "i", **container}, IMAGE, {"X": "y"}, 0, "198.18.1.5")


def test_source_and_interpreter_are_there_read_only(tmp_path: Path) -> None:
    made = make(tmp_path, pod(), {})
    assert (made.argv, made.uid, made.netns) == (["run"], 1337, "/run/netns/tm-a-11112222")
    shown = {mount.target: mount for mount in made.mounts}
    assert shown[SOURCE_DIR].read_only and shown[VENV_DIR] == Mount(str(Path(sys.prefix).resolve()), VENV_DIR, True)


def test_a_checkout_below_tmp_is_there_at_its_own_path_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's /tmp is empty, but scripts of a virtual environment name their interpreter by its path."""
    monkeypatch.setattr("mesh.__path__", ["/tmp/a clone/mesh"])
    monkeypatch.setattr(sys, "prefix", "/tmp/a clone/.venv")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    mounts = make(tmp_path, pod(), {}).mounts
    assert Mount("/tmp/a clone", "/tmp/a clone", True) in mounts
    assert [mount.target for mount in mounts if mount.target.startswith(("/tmp", "/usr"))] == ["/tmp/a clone"]


def test_a_host_network_pod_stays_in_the_nodes_namespace(tmp_path: Path) -> None:
    made = make(tmp_path, pod(hostNetwork=True, nodeName="node"), {})
    assert (made.netns, made.files["/etc/hostname"]) == ("", "node\n")


def test_only_empty_dirs_are_writable(tmp_path: Path) -> None:
    volumes: list[dict[str, Any]] = [{"name": "v", "emptyDir": {}}]
    mounts = [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "readOnly": True}, {"name": "v", "mountPath": "/c", "subPathExpr": "$(X)"}]
    made = {mount.target: mount for mount in make(tmp_path, pod(volumes=volumes), {"volumeMounts": mounts}).mounts}
    assert (made["/a"].read_only, made["/b"].read_only) == (False, True)
    assert made["/c"].source.endswith("/volumes/v/y")
    config = [{"name": "v", "configMap": {"name": "x"}}]
    assert {m.target: m.read_only for m in make(tmp_path / "2", pod(volumes=config), {"volumeMounts": mounts[:1]}).mounts}["/a"]


def test_a_mount_without_volume_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match='volumeMount "none" names no volume'):
        make(tmp_path, pod(), {"volumeMounts": [{"name": "none", "mountPath": "/x"}]})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "nameserver 198.19.0.10\nsearch ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"),
        ({"dnsPolicy": "Default"}, "nameserver 198.19.0.10\n"),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.2.3.4"], "searches": ["x"], "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]}}, "nameserver 1.2.3.4\nsearch x\noptions ndots:1 edns0\n"),
        ({"dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}, "nameserver 198.19.0.10\nsearch ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:2\n"),
    ],
)
def test_resolv_conf(spec: dict[str, Any], expected: str) -> None:
    assert resolv_conf(pod(**spec)) == expected


def test_hosts_know_the_pod_and_its_aliases() -> None:
    text = hosts_file(pod(hostname="h", subdomain="s", hostAliases=[{"ip": "198.18.9.9", "hostnames": ["x", "y"]}]), "198.18.1.5")
    assert "198.18.1.5\th.s.ns.svc.cluster.local\th\n" in text and "198.18.9.9\tx y\n" in text


def test_what_is_not_enforced_is_said() -> None:
    found = not_enforced(pod(securityContext={"seccompProfile": {"type": "RuntimeDefault"}}, containers=[{"name": "c", "resources": {"limits": {"cpu": "1"}}}]))
    assert found == ["resources.limits (no cgroups)", "securityContext.seccompProfile"]
    assert not_enforced(pod()) == []


def test_ids_differ_by_attempt() -> None:
    assert public_id("u/c/0") != public_id("u/c/1")
