"""Lease: who of several control planes writes statuses. Sans-I/O, as client-go decides it.

Clocks of different machines are never compared: a lease has expired when its record has not changed for its duration
on *our* clock since we first saw it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

DURATION_SECONDS = 15
RENEW_SECONDS = 5.0


class Move(Enum):
    """What to do with the Lease object now."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


@dataclass(slots=True)
class Candidate:
    """One contender. Times are monotonic seconds."""

    identity: str
    _seen: tuple[str, str] = ("", "")
    _seen_at: float = 0.0
    _renewed_at: float = float("-inf")

    def is_leader(self, now: float) -> bool:
        """Leads until nobody could have taken over yet."""
        return now < self._renewed_at + DURATION_SECONDS

    def decide(self, lease: Mapping[str, Any] | None, now: float) -> Move:
        """Args: lease: the Lease object, None when there is none."""
        if lease is None:
            return Move.CREATE
        spec = lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        record = (holder, str(spec.get("renewTime") or ""))
        if record != self._seen:
            self._seen, self._seen_at = record, now
        if holder == self.identity:
            return Move.RENEW
        duration = float(spec.get("leaseDurationSeconds") or DURATION_SECONDS)
        if not holder or now >= self._seen_at + duration:
            return Move.TAKE
        return Move.WAIT

    def won(self, asked_at: float) -> None:
        """The write succeeded. asked_at: when it was sent, not when it was answered."""
        self._renewed_at = asked_at

    def lost(self) -> None:
        """Somebody else wrote first."""
        self._renewed_at = float("-inf")

    def spec(self, lease: Mapping[str, Any] | None, move: Move, now_text: str) -> dict[str, Any]:
        """The Lease's spec after the move. now_text: RFC 3339 with microseconds."""
        old = dict((lease or {}).get("spec") or {})
        changed = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": now_text,
        }
        if move is not Move.RENEW:
            changed["acquireTime"] = now_text
            changed["leaseTransitions"] = int(old.get("leaseTransitions") or 0) + (move is Move.TAKE)
        return {**old, **changed}
