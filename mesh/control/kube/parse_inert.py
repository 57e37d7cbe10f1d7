"""Parser of kinds that have no effect: nothing is kept of them but who they are and that they do nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.control.kube.objects import Meta
from mesh.control.kube.parse_core import meta
from mesh.model.inert import REASON, without_effect
from mesh.model.origin import Problem, Severity


@dataclass(frozen=True, slots=True)
class Inert:
    """problems: that the object has no effect."""

    meta: Meta
    problems: tuple[Problem, ...] = ()


def inert(group: str, kind: str, is_security: bool) -> Callable[[Mapping[str, Any]], Inert]:
    """The parser of a kind. is_security: an error, because somebody may rely on it; else a warning."""
    severity = Severity.ERROR if is_security else Severity.WARNING

    def parse(item: Mapping[str, Any]) -> Inert:
        found = meta(item, kind, group)
        return Inert(found, (Problem(found.ref, "", without_effect(group, kind), REASON, severity),))

    return parse
