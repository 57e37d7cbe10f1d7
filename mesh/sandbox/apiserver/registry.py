"""The registry: which resources there are, and under which path, group and version each is served.

A `Resource` is one row: one plural in one group and version. Versions of a kind share `storage_key` (where objects live) and
`storage_version` (in which apiVersion they are kept).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mesh.sandbox.apiserver.schema.definitions import ANY, Node
from mesh.sandbox.apiserver.status import qualified

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column. `path` is a JSONPath of a custom column; built-in columns are computed by `columns`."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the scale subresource finds its numbers (JSONPath as in a CRD: `.spec.replicas`)."""

    spec_replicas: str
    status_replicas: str
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource.

    subresources: names beside `status` and `scale` that are dispatched by hand (`log`, `exec`, …).
    has_status: `/status` exists, and the main endpoint then ignores changes of `.status`.
    unacted: nobody in the sandbox acts on this kind; creating one answers with this warning.
    custom: comes from a CustomResourceDefinition (other validation, no strategic merge).
    create_only: a question and its answer (TokenReview): nothing is stored.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    schema: Node = field(default_factory=lambda: ANY)
    has_status: bool = False
    scale: Scale | None = None
    subresources: tuple[str, ...] = ()
    storage_key: str = ""
    storage_version: str = ""
    unacted: str = ""
    custom: bool = False
    create_only: bool = False
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    deprecated: str = ""

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """Storage name, shared by the versions of a kind."""
        return self.storage_key or qualified(self.group, self.plural)


class Registry:
    """All resources by (group, version, plural). Changed when CustomResourceDefinitions come and go."""

    def __init__(self, builtin: Iterable[Resource]) -> None:
        self._rows: dict[tuple[str, str, str], Resource] = {(r.group, r.version, r.plural): r for r in builtin}
        self.generation = 0  # grows with every change: what was derived (discovery, OpenAPI) is then derived again

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource of a path."""
        return self._rows.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object."""
        return next((r for r in self._rows.values() if r.kind == kind and r.api_version == api_version), None)

    def all(self) -> list[Resource]:
        """Every resource, in order of registration."""
        return list(self._rows.values())

    def versions(self, storage_key: str) -> list[Resource]:
        """The rows that share one storage key."""
        return [r for r in self._rows.values() if r.key == storage_key]

    def replace(self, storage_key: str, rows: Iterable[Resource]) -> None:
        """Serve `rows` instead of what was served for `storage_key`."""
        self._rows = {k: r for k, r in self._rows.items() if r.key != storage_key}
        self._rows.update({(r.group, r.version, r.plural): r for r in rows})
        self.generation += 1


def dig(obj: Any, path: str) -> Any:
    """The value at a simple JSONPath such as `.spec.replicas`; None when something on the way is missing."""
    for part in path.strip(".").split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj
