from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.sandbox.apiserver.apply import apply
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.status import ApiError

ROWS = {r.key: r for r in builtin()}
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def config(data: dict[str, str], **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", **meta}, "data": data}


def run(live: dict[str, Any] | None, data: dict[str, str], manager: str, force: bool = False) -> dict[str, Any]:
    return apply(live, config(data), ROWS["configmaps"], "", manager, force, NOW)


def test_left_out_field_goes_unless_somebody_else_owns_it() -> None:
    first = run(None, {"a": "1", "b": "1", "c": "1"}, "one")
    second = run(first, {"b": "1"}, "two")
    third = run(second, {"a": "1"}, "one")
    assert third["data"] == {"a": "1", "b": "1"}


def test_same_value_is_shared_and_another_conflicts() -> None:
    first = run(None, {"a": "1"}, "one")
    shared = run(first, {"a": "1"}, "two")
    assert [m["manager"] for m in shared["metadata"]["managedFields"]] == ["one", "two"]
    with pytest.raises(ApiError) as conflict:
        run(shared, {"a": "2"}, "two")
    assert [(c.field, c.message) for c in conflict.value.causes] == [(".data.a", 'conflict with "one"')]
    forced = run(shared, {"a": "2"}, "two", force=True)
    assert forced["data"] == {"a": "2"} and [m["manager"] for m in forced["metadata"]["managedFields"]] == ["two"]


def test_status_is_not_owned_through_the_main_door() -> None:
    row = ROWS["deployments.apps"]
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1}, "status": {"replicas": 1}}
    made = apply(None, body, row, "", "one", False, NOW)
    assert "status" not in made
    status = apply(made, body, row, "status", "two", False, NOW)
    assert status["status"] == {"replicas": 1}
    assert [(m["manager"], m.get("subresource"), list(m["fieldsV1"])) for m in status["metadata"]["managedFields"]] == [("one", None, ["f:spec"]), ("two", "status", ["f:status"])]


def test_revision_of_the_config_is_kept_for_the_check() -> None:
    live = run(None, {"a": "1"}, "one")
    live["metadata"]["resourceVersion"] = "9"
    assert "resourceVersion" not in run(live, {"a": "1"}, "one")["metadata"]
    assert apply(live, config({"a": "1"}, resourceVersion="8"), ROWS["configmaps"], "", "one", False, NOW)["metadata"]["resourceVersion"] == "8"


DATA = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"))


@given(DATA, DATA, DATA)
def test_forced_apply_is_true_and_repeating_it_is_idle(mine: dict[str, str], theirs: dict[str, str], next_mine: dict[str, str]) -> None:
    live = run(run(None, mine, "one"), theirs, "two", force=True)
    after = run(live, next_mine, "one", force=True)
    assert after["data"] == {**{k: v for k, v in theirs.items() if k not in next_mine}, **next_mine} or after.get("data", {}) == {**theirs, **next_mine}
    assert run(after, next_mine, "one") == after
