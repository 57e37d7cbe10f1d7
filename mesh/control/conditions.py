"""Conditions: Kubernetes' way to say what became of an object; kept stable while nothing changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.model.origin import Problem, Severity

# Longer messages are cut: the API server refuses more than 32768 characters (metav1.Condition).
_MAX_MESSAGE_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. holds None = Unknown."""

    type: str
    holds: bool | None
    reason: str
    message: str = ""

    def json(self, generation: int, old: Mapping[str, Any] | None, now: str) -> dict[str, Any]:
        """As metav1.Condition; `lastTransitionTime` moves only when the status does."""
        status = {True: "True", False: "False", None: "Unknown"}[self.holds]
        since = now
        if old is not None and old.get("status") == status and old.get("lastTransitionTime"):
            since = str(old["lastTransitionTime"])
        return {
            "type": self.type,
            "status": status,
            "reason": self.reason,
            "message": self.message[:_MAX_MESSAGE_CHARS],
            "observedGeneration": generation,
            "lastTransitionTime": since,
        }


def merged(
    conditions: Iterable[Condition], generation: int, old: Iterable[Mapping[str, Any]], now: str
) -> list[dict[str, Any]]:
    """Our conditions over the old ones; those of types that are not ours stay as they are."""
    known = {str(item.get("type")): item for item in old}
    fresh = {c.type: c.json(generation, known.get(c.type), now) for c in conditions}
    # PartiallyInvalid is present only while it holds.
    others = [dict(item) for kind, item in known.items() if kind not in fresh and kind not in _VANISHING]
    return [*fresh.values(), *others]


_VANISHING = frozenset({"PartiallyInvalid"})


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def summary(problems: Iterable[Problem]) -> str:
    """All of them in one line, each with its field."""
    return "; ".join(f"{p.field}: {p.message}" if p.field else p.message for p in problems)
