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
    """problems: what of the object has no effect; () for a PeerAuthentication that asks for what happens anyway."""

    meta: Meta
    problems: tuple[Problem, ...] = ()


def inert(group: str, kind: str, is_security: bool) -> Callable[[Mapping[str, Any]], Inert]:
    """The parser of a kind. is_security: an error, because somebody may rely on it; else a warning."""
    severity = Severity.ERROR if is_security else Severity.WARNING

    def parse(item: Mapping[str, Any]) -> Inert:
        found = meta(item, kind, group)
        problems = tuple(
            Problem(found.ref, field, message, REASON, severity)
            for field, message in without_effect(group, kind, item.get("spec"))
        )
        return Inert(found, problems)

    return parse
