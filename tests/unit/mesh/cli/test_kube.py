"""meshctl's calls, against the embedded API server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.cli.kube import Kube, KubeError
from tests.support.apiserver import ApiServer


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    server = ApiServer(tmp_path_factory.mktemp("kube"))
    server.start()
    try:
        yield Kube(str(server.kubeconfig))
    finally:
        server.close()


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def test_apply_creates_then_changes(kube: Kube) -> None:
    kube.apply(config_map("a", key="1"))
    kube.apply(config_map("a", key="2"))
    assert kube.get("v1", "ConfigMap", "a", "default")["data"] == {"key": "2"}


def test_merge_and_delete_and_delete_again(kube: Kube) -> None:
    kube.apply(config_map("b"))
    assert kube.merge("v1", "ConfigMap", "b", {"data": {"x": "y"}}, "default")["data"] == {"x": "y"}
    kube.delete("v1", "ConfigMap", "b", "default")
    kube.delete("v1", "ConfigMap", "b", "default")
    with pytest.raises(KubeError, match='configmaps "b" not found') as caught:
        kube.get("v1", "ConfigMap", "b", "default")
    assert caught.value.code == 404


def test_a_kind_that_is_not_served_is_named(kube: Kube) -> None:
    with pytest.raises(KubeError, match=r"does not serve example.com/v1 Thing"):
        kube.get("example.com/v1", "Thing", "x")


def test_list_by_label(kube: Kube) -> None:
    document = config_map("labelled")
    document["metadata"]["labels"] = {"find": "me"}  # type: ignore[index]
    kube.apply(document)
    assert [item["metadata"]["name"] for item in kube.list("v1", "ConfigMap", "default", "find=me")] == ["labelled"]


def test_until_sees_a_change_that_comes_later(kube: Kube) -> None:
    seen = threading.Event()

    def later() -> None:
        seen.wait(10)
        kube.apply(config_map("later", key="done"))

    def holds(found: object) -> bool:
        seen.set()
        return isinstance(found, dict) and found.get("later", {}).get("data") == {"key": "done"}

    writer = threading.Thread(target=later)
    writer.start()
    found = kube.until("v1", "ConfigMap", "default", holds, 10)
    writer.join()
    assert found["later"]["data"] == {"key": "done"}


def test_until_gives_up(kube: Kube) -> None:
    with pytest.raises(KubeError, match="not as expected after 1 s") as caught:
        kube.until("v1", "ConfigMap", "default", lambda _: False, 1)
    assert caught.value.reason == "Timeout"


def test_a_server_that_is_gone_is_named(tmp_path: Path) -> None:
    server = ApiServer(tmp_path / "gone")
    server.start()
    reached = Kube(str(server.kubeconfig))
    server.close()
    with pytest.raises(KubeError, match="does not answer") as caught:
        reached.list("v1", "Pod")
    assert caught.value.code == 0


def test_a_missing_kubeconfig_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match="no usable kubeconfig"):
        Kube(str(tmp_path / "nothing"))


@pytest.mark.parametrize("text", ["a word", "[]", "a: [b", "clusters: 3", "{contexts: [{}], current-context: x}", "\x00", ""])
def test_a_file_that_is_no_kubeconfig_is_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(KubeError, match="no usable kubeconfig"):
        Kube(str(tmp_path / "config"))


def test_a_token_that_cannot_be_sent_is_said_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        cluster = {"server": f"http://127.0.0.1:{server.getsockname()[1]}"}
        parts = {"cluster": cluster, "user": {"token": "a\nb"}, "context": {"cluster": "x", "user": "x"}}
        document = {"current-context": "x", **{f"{kind}s": [{"name": "x", kind: value}] for kind, value in parts.items()}}
        (tmp_path / "config").write_text(json.dumps(document))
        with pytest.raises(KubeError, match="cannot be sent") as failed:
            Kube(str(tmp_path / "config")).json("GET", "/version")
    assert failed.value.code == 0


def test_what_is_applied_for_the_user_is_theirs_to_apply_again(kube: Kube) -> None:
    applied = kube.apply_as_user({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"a": "b"}})
    noted = json.loads(applied["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert (noted["metadata"], noted["data"]) == ({"annotations": {}, "name": "mine", "namespace": "default"}, {"a": "b"})
