from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.sandbox.apiserver import objects
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.objects import Stamp
from mesh.sandbox.apiserver.status import ApiError

ROWS = {r.key: r for r in builtin()}
STAMP = Stamp(datetime(2030, 1, 1, tzinfo=UTC), "uid-1", random.Random(1))


def created(key: str, **meta: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {"metadata": dict(meta), "spec": {}, "status": {"x": 1}}
    objects.begin_create(obj, ROWS[key], "ns", STAMP)
    return obj


def test_create_fills_metadata_and_ignores_what_the_client_cannot_set() -> None:
    made = created("deployments.apps", name="a", uid="mine", resourceVersion="7", generation=9)
    assert made["metadata"] == {"name": "a", "namespace": "ns", "uid": "uid-1", "creationTimestamp": "2030-01-01T00:00:00Z", "generation": 1}
    assert "status" not in made and "status" in created("nodes", name="n")


def test_generated_names_fit_63_characters() -> None:
    assert len(created("pods", generateName="x" * 70)["metadata"]["name"]) == 63


def test_create_refuses_no_name_and_another_namespace() -> None:
    for meta, code in (({}, 422), ({"name": "a", "namespace": "other"}, 400)):
        with pytest.raises(ApiError) as refused:
            created("pods", **meta)
        assert refused.value.code == code


def old() -> dict[str, Any]:
    return {"metadata": {"name": "a", "namespace": "ns", "uid": "u", "creationTimestamp": "t", "generation": 3, "resourceVersion": "5", "labels": {"x": "1"}}, "spec": {"replicas": 1}, "status": {"replicas": 1}}


def test_update_keeps_identity_and_status() -> None:
    new = objects.begin_update({"metadata": {"uid": "u", "creationTimestamp": "other"}, "spec": {"replicas": 2}, "status": {"replicas": 9}}, old(), ROWS["deployments.apps"], "")
    objects.finish_update(new, old(), ROWS["deployments.apps"])
    assert new["status"] == {"replicas": 1} and new["metadata"]["creationTimestamp"] == "t" and new["metadata"]["generation"] == 4


def test_status_update_takes_nothing_but_status() -> None:
    new = objects.begin_update({"metadata": {"name": "a", "labels": {"x": "2"}}, "spec": {"replicas": 2}, "status": {"replicas": 9}}, old(), ROWS["deployments.apps"], "status")
    objects.finish_update(new, old(), ROWS["deployments.apps"])
    assert (new["spec"], new["status"], new["metadata"]["labels"], new["metadata"]["generation"]) == ({"replicas": 1}, {"replicas": 9}, {"x": "1"}, 3)


@pytest.mark.parametrize(("meta", "code"), [({"name": "b"}, 400), ({"namespace": "other"}, 400), ({"uid": "v"}, 409)])
def test_update_of_another_object_is_refused(meta: dict[str, str], code: int) -> None:
    with pytest.raises(ApiError) as refused:
        objects.begin_update({"metadata": meta}, old(), ROWS["deployments.apps"], "")
    assert refused.value.code == code


def test_revision_is_checked_when_given() -> None:
    objects.check_update_revision({"metadata": {}}, old(), ROWS["pods"])
    objects.check_update_revision({"metadata": {"resourceVersion": "5"}}, old(), ROWS["pods"])
    with pytest.raises(ApiError) as refused:
        objects.check_update_revision({"metadata": {"resourceVersion": "4"}}, old(), ROWS["pods"])
    assert refused.value.code == 409


def test_sameness_ignores_revision_and_owners() -> None:
    other = old()
    other["metadata"] |= {"resourceVersion": "6", "managedFields": [{}]}
    assert objects.same(other, old())
    other["spec"] = {}
    assert not objects.same(other, old())
