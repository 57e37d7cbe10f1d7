from __future__ import annotations

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.status import Cause


def test_not_found_names_resource_and_object() -> None:
    assert status.not_found("apps", "deployments", "web").body() == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": 'deployments.apps "web" not found', "reason": "NotFound",
        "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404,
    }  # fmt: skip


def test_invalid_joins_all_causes() -> None:
    body = status.invalid("", "Pod", "p", [Cause("FieldValueRequired", "spec.a", "Required value"), Cause("FieldValueInvalid", "spec.b", "Invalid value: 1: no")]).body()
    assert body["message"] == 'Pod "p" is invalid: [spec.a: Required value, spec.b: Invalid value: 1: no]'
    assert body["details"]["causes"][1] == {"reason": "FieldValueInvalid", "message": "Invalid value: 1: no", "field": "spec.b"}


def test_retry_after_is_in_details() -> None:
    assert status.future_revision(9, 5).body()["details"] == {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version", "field": ""}], "retryAfterSeconds": 1}


def test_conflict_with_and_without_causes() -> None:
    assert status.conflict("", "pods", "p", status.STALE).message.startswith('Operation cannot be fulfilled on pods "p": the object has been modified')
    applied = status.apply_conflict("Apply failed", (Cause("FieldManagerConflict", ".spec", "x"),)).body()
    assert (applied["message"], applied["details"]) == ("Apply failed", {"causes": [{"reason": "FieldManagerConflict", "message": "x", "field": ".spec"}]})


def test_what_says_nothing_has_details_all_the_same() -> None:
    assert status.no_such_resource().body()["details"] == {} and "details" not in status.bad_request("x").body()
