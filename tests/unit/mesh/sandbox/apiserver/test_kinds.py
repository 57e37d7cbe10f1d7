from __future__ import annotations

from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.schema.definitions import child


def test_rows_are_unique_and_their_schemas_exist() -> None:
    rows = builtin()
    assert len({(r.group, r.version, r.plural) for r in rows}) == len(rows)
    assert all(child(r.schema, "metadata") or r.create_only for r in rows)


def test_status_subresource_only_where_the_schema_has_a_status() -> None:
    assert [r.kind for r in builtin() if r.has_status and child(r.schema, "status") is None] == []


def test_what_nobody_acts_on_says_so() -> None:
    assert {r.kind for r in builtin() if r.unacted} == {"LimitRange", "ResourceQuota", "HorizontalPodAutoscaler", "NetworkPolicy", "StorageClass"}
