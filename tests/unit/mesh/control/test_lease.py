"""Who writes statuses."""

from __future__ import annotations

from typing import Any

from mesh.control.lease import DURATION_SECONDS, Candidate, Move


def lease(holder: str, renewed: str = "t0", duration: int = DURATION_SECONDS) -> dict[str, Any]:
    return {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": duration, "leaseTransitions": 4}}


def test_the_first_creates_it() -> None:
    me = Candidate("me")
    assert me.decide(None, 0.0) is Move.CREATE
    assert not me.is_leader(0.0)
    me.won(0.0)
    assert me.is_leader(14.9)
    assert not me.is_leader(15.0)


def test_the_holder_renews() -> None:
    assert Candidate("me").decide(lease("me"), 0.0) is Move.RENEW


def test_others_wait_until_the_record_stands_still_on_their_own_clock() -> None:
    me = Candidate("me")
    assert me.decide(lease("other", "t0"), 100.0) is Move.WAIT
    assert me.decide(lease("other", "t1"), 114.0) is Move.WAIT
    assert me.decide(lease("other", "t1"), 128.9) is Move.WAIT
    assert me.decide(lease("other", "t1"), 129.0) is Move.TAKE


def test_a_released_lease_is_taken_at_once() -> None:
    assert Candidate("me").decide(lease(""), 0.0) is Move.TAKE


def test_losing_a_write_ends_leadership() -> None:
    me = Candidate("me")
    me.won(10.0)
    me.lost()
    assert not me.is_leader(10.0)


def test_the_spec_counts_transitions() -> None:
    me = Candidate("me")
    taken = me.spec(lease("other"), Move.TAKE, "now")
    assert (taken["holderIdentity"], taken["leaseTransitions"], taken["acquireTime"]) == ("me", 5, "now")
    renewed = me.spec(lease("me"), Move.RENEW, "now")
    assert (renewed["leaseTransitions"], renewed["renewTime"], "acquireTime" in renewed) == (4, "now", False)
