"""The statuses that a world of objects is to have, by `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.control.status import plan
from mesh.model.origin import ObjectRef
from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo

NOW = "2026-01-01T00:00:00Z"


def cluster(*files: str) -> Cluster:
    made = Cluster()
    made.apply(INGRESS_GATEWAY)
    made.apply(bookinfo("platform/kube/bookinfo.yaml", "platform/kube/bookinfo-versions.yaml", *files))
    return made


def statuses(
    made: Cluster, old: Mapping[ObjectRef, Any] | None = None, nacks: Mapping[ObjectRef, str] | None = None
) -> dict[str, Any]:
    patches = plan(made.graph(), lambda ref: (old or {}).get(ref, {}), nacks or {}, NOW)
    return {f"{patch.kind}/{patch.meta.name}": patch.status for patch in patches}


def short(conditions: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in conditions}
