"""Who said so: the Kubernetes object and field behind a decision, and what is wrong with an object."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """One Kubernetes object. `group` is "" for core kinds; `namespace` is "" for cluster-scoped ones."""

    kind: str
    namespace: str
    name: str
    group: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """The object and rule that made a route, cluster or filter.

    Travels as xDS metadata `filter_metadata["triomesh.io"] = {kind, namespace, name, rule}`.
    `rule` is the field path inside spec, e.g. `http[0]` or `rules[1]`; "" means the object as a whole.
    `generation` is the object's metadata.generation where it matters which edit decided (routes, whose measured shares
    must not mix edits); 0 elsewhere, so that an edit does not touch what it did not change.
    """

    kind: str
    namespace: str
    name: str
    rule: str = ""
    generation: int = 0

    def __str__(self) -> str:
        path = "/".join(part for part in (self.kind, self.namespace, self.name) if part)
        return f"{path} {self.rule}" if self.rule else path


class Severity(Enum):
    """ERROR: (part of) the object has no effect. WARNING: it works, but hardly as its author meant."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A user's mistake as a value: it reaches the object's status and `meshctl analyze`, and stops nobody else.

    Args: field: path inside the object, e.g. `spec.http[0].route[1].weight`.
          reason: CamelCase, stable, for conditions and scripts, e.g. `BackendNotFound`.
    """

    ref: ObjectRef
    field: str
    message: str
    reason: str = "Invalid"
    severity: Severity = Severity.ERROR
