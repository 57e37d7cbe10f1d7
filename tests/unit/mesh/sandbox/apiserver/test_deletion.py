from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.sandbox.apiserver.deletion import Options, check_preconditions, decide, is_finished
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.status import ApiError

ROWS = {r.key: r for r in builtin()}
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def obj(**meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "uid": "u", "resourceVersion": "1", **meta}}


def pod(node: str = "n1", phase: str = "Running", **meta: Any) -> dict[str, Any]:
    return {**obj(**meta), "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}}


def test_plain_object_is_gone_at_once() -> None:
    verdict = decide(obj(), ROWS["configmaps"], Options(), NOW)
    assert verdict.gone


def test_propagation_is_a_finalizer() -> None:
    for policy, finalizers in (("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])):
        verdict = decide(obj(), ROWS["deployments.apps"], Options(propagation=policy), NOW)
        assert not verdict.gone and verdict.obj is not None and verdict.obj["metadata"]["finalizers"] == finalizers
    verdict = decide(obj(finalizers=["orphan", "a/b"]), ROWS["deployments.apps"], Options(propagation="Background"), NOW)
    assert verdict.obj is not None and verdict.obj["metadata"]["finalizers"] == ["a/b"]


@pytest.mark.parametrize(("node", "phase", "grace", "gone"), [("", "Pending", None, True), ("n1", "Succeeded", None, True), ("n1", "Running", None, False), ("n1", "Running", 0, True)])
def test_pods_wait_for_their_kubelet(node: str, phase: str, grace: int | None, gone: bool) -> None:
    assert decide(pod(node, phase), ROWS["pods"], Options(grace), NOW).gone is gone


def test_grace_can_only_be_shortened() -> None:
    first = decide(pod(), ROWS["pods"], Options(), NOW).obj
    assert first is not None
    assert (first["metadata"]["deletionTimestamp"], first["metadata"]["deletionGracePeriodSeconds"]) == ("2030-01-01T00:00:30Z", 30)
    assert decide(first, ROWS["pods"], Options(60), NOW).obj is None
    shorter = decide(first, ROWS["pods"], Options(5), NOW).obj
    assert shorter is not None and shorter["metadata"]["deletionTimestamp"] == "2030-01-01T00:00:05Z"


def test_namespaces_end_and_some_never() -> None:
    namespace = {**obj(), "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    verdict = decide(namespace, ROWS["namespaces"], Options(), NOW)
    assert not verdict.gone and verdict.obj is not None and verdict.obj["status"]["phase"] == "Terminating"
    with pytest.raises(ApiError) as refused:
        decide({**namespace, "metadata": {**namespace["metadata"], "name": "default"}}, ROWS["namespaces"], Options(), NOW)
    assert refused.value.code == 403


def test_preconditions() -> None:
    check_preconditions(obj(), Options(uid="u", revision="1"), ROWS["pods"])
    for wrong in (Options(uid="v"), Options(revision="2")):
        with pytest.raises(ApiError) as refused:
            check_preconditions(obj(), wrong, ROWS["pods"])
        assert refused.value.code == 409


def test_is_finished() -> None:
    ended = {"deletionTimestamp": "2030-01-01T00:00:00Z"}
    assert not is_finished(obj(), ROWS["configmaps"])
    assert is_finished(obj(**ended), ROWS["configmaps"]) and not is_finished(obj(**ended, finalizers=["a"]), ROWS["configmaps"])
    assert not is_finished(pod(**ended, deletionGracePeriodSeconds=30), ROWS["pods"]) and is_finished(pod(**ended, deletionGracePeriodSeconds=0), ROWS["pods"])
    assert not is_finished({**obj(**ended), "spec": {"finalizers": ["kubernetes"]}}, ROWS["namespaces"])
