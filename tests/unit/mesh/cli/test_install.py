"""Manifests: reading, order, readiness."""

from pathlib import Path

import pytest

from mesh.cli.failure import CommandError
from mesh.cli.install import documents, is_available


def test_documents_of_a_directory_come_in_name_order_with_lists_unpacked(tmp_path: Path):
    (tmp_path / "2.yaml").write_text("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: B}, {apiVersion: v1, kind: C}]\n")
    (tmp_path / "1.yaml").write_text("---\napiVersion: v1\nkind: A\n---\n# nothing\n")
    assert [item["kind"] for item in documents(tmp_path)] == ["A", "B", "C"]


def test_values_are_filled_in(tmp_path: Path):
    file = tmp_path / "x.yaml"
    file.write_text("apiVersion: v1\nkind: A\nimage: proxy:${VERSION}\nenv: $(POD_NAME)\n")
    assert next(documents(file, {"VERSION": "7"})) == {"apiVersion": "v1", "kind": "A", "image": "proxy:7", "env": "$(POD_NAME)"}


@pytest.mark.parametrize(("text", "message"), [("a: [", "x.yaml"), ("just text", "document 0 is no Kubernetes object"), ("kind: A\n---\n- 1\n", "document 0")])
def test_what_is_no_object_is_refused_by_place(tmp_path: Path, text: str, message: str):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(CommandError, match=message):
        list(documents(file))


def deployment(**status: int):
    return {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, **status}}


def test_a_finished_rollout_is_available():
    assert is_available(deployment())


@pytest.mark.parametrize("status", [{"observedGeneration": 1}, {"replicas": 3}, {"updatedReplicas": 1}, {"availableReplicas": 1}])
def test_an_unfinished_rollout_is_not(status):
    assert not is_available(deployment(**status))


def test_a_missing_deployment_is_not_available():
    assert not is_available(None)
