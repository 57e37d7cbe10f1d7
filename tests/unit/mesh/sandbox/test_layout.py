"""Names and paths of a sandbox."""

from pathlib import Path

import pytest

from mesh.sandbox.layout import BadName, Layout, locate


def test_state_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIOMESH_STATE", "/somewhere")
    assert locate("demo").kubeconfig == Path("/somewhere/demo/kubeconfig")


@pytest.mark.parametrize("name", ["", "Demo", "a_b", "-a", "a-", "x" * 21, "a/b", "a-node", "node", "x-0123abcd"])
def test_a_name_that_cannot_be_part_of_a_namespace_is_refused(name: str) -> None:
    with pytest.raises(BadName, match="sandbox name"):
        locate(name)


@pytest.mark.parametrize(
    ("netns", "ours"), [("tm-a-node", True), ("tm-a-0123abcd", True), ("tm-a-b-node", False), ("tm-a-b-0123abcd", False), ("tm-ab-node", False)]
)
def test_another_sandboxs_namespaces_are_not_ours(netns: str, ours: bool) -> None:
    assert Layout("a", Path("/x")).is_ours(netns) is ours


def test_a_pods_namespace_is_named_by_its_uid() -> None:
    assert Layout("a", Path("/x")).pod_netns("9f0c-1234-5678-9abc") == "tm-a-56789abc"
