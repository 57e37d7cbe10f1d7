"""What volumes contain."""

from typing import Any

import pytest

from mesh.sandbox.node.podspec import Facts, SpecError
from mesh.sandbox.node.volumes import Directory, File, TokenWish, directory, files, references, token_wishes

FACTS = Facts("198.18.1.5", "198.18.0.1", "node", 2, 1 << 30)
POD = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": []}}


def lookup(kind: str, name: str) -> dict[str, Any] | None:
    return {("ConfigMap", "cm"): {"a": "1", "b": "2"}, ("Secret", "s"): {"k": b"v"}}.get((kind, name))


def content(volume: dict[str, Any], tokens: dict[TokenWish, str] | None = None) -> dict[str, File]:
    return files({"name": "v", **volume}, POD, FACTS, lookup, tokens or {})


def test_a_config_map_is_one_file_per_key() -> None:
    assert content({"configMap": {"name": "cm", "defaultMode": 0o400}}) == {"a": File(b"1", 0o400), "b": File(b"2", 0o400)}


def test_items_choose_keys_and_paths() -> None:
    assert content({"configMap": {"name": "cm", "items": [{"key": "a", "path": "x/y", "mode": 0o600}]}}) == {"x/y": File(b"1", 0o600)}


def test_a_projected_volume_joins_its_sources() -> None:
    volume = {
        "projected": {
            "defaultMode": 0o444,
            "sources": [
                {"serviceAccountToken": {"path": "token", "audience": "aud", "expirationSeconds": 600}},
                {"secret": {"name": "s"}},
                {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ],
        }
    }
    wish = TokenWish("aud", 600, "token", 0o444)
    assert token_wishes(volume) == [wish]
    assert content(volume, {wish: "t"}) == {"token": File(b"t", 0o444), "k": File(b"v", 0o444), "ns": File(b"ns", 0o444)}
    assert list(references(volume)) == [("Secret", "s")]


@pytest.mark.parametrize(
    ("spec", "file"),
    [
        ({"containers": [{"name": "a"}, {"name": "b", "securityContext": {"runAsUser": 7}}]}, File(b"t", 0o644)),
        ({"containers": [{"name": "a", "securityContext": {"runAsUser": 7}}]}, File(b"t", 0o600, 7)),
        ({"securityContext": {"runAsUser": 7}, "containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}, File(b"t", 0o600, 7)),
        ({"securityContext": {"fsGroup": 9}, "containers": [{"name": "a"}]}, File(b"t", 0o600)),
    ],
)
def test_a_token_is_as_private_as_its_readers_are_known(spec: dict[str, Any], file: File) -> None:
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    (wish,) = token_wishes(volume)
    assert files(volume, {**POD, "spec": spec}, FACTS, lookup, {wish: "t"}) == {"token": file}


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"configMap": {"name": "cm", "items": [{"key": "z", "path": "z"}]}}, "references non-existent key: z"),
        ({"configMap": {"name": "cm", "items": [{"key": "a", "path": "../z"}]}}, "leads out of the volume"),
        ({"projected": {"sources": [{"clusterTrustBundle": {}}]}}, "projected clusterTrustBundle is not supported"),
    ],
)
def test_what_cannot_be_is_named(volume: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        content(volume)


def test_what_is_optional_is_left_out() -> None:
    assert content({"secret": {"secretName": "none", "optional": True}}) == {}


def test_directories_and_what_is_refused() -> None:
    assert directory({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}) == Directory(True, "1Mi")
    for kind, why in (("hostPath", "hostPath is refused"), ("persistentVolumeClaim", "no storage provisioner"), ("nfs", "kind nfs are not supported")):
        with pytest.raises(SpecError, match=why):
            directory({"name": "v", kind: {}})
