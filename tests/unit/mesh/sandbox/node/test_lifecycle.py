"""Restarts and their pauses."""

import pytest

from mesh.sandbox.node.lifecycle import Backoff, describe_wait, restarts
from mesh.sandbox.node.podstatus import Role


@pytest.mark.parametrize(
    ("role", "policy", "code", "again"),
    [
        (Role.MAIN, "Always", 0, True),
        (Role.MAIN, "OnFailure", 0, False),
        (Role.MAIN, "OnFailure", 1, True),
        (Role.MAIN, "Never", 1, False),
        (Role.INIT, "Always", 0, False),
        (Role.INIT, "Always", 1, True),
        (Role.INIT, "Never", 1, False),
        (Role.SIDECAR, "Never", 0, True),
        (Role.EPHEMERAL, "Always", 1, False),
    ],
)
def test_who_is_started_again(role: Role, policy: str, code: int, again: bool) -> None:
    assert restarts(role, policy, code) is again


def test_pauses_double_up_to_five_minutes_and_a_calm_run_forgets_them() -> None:
    backoff = Backoff()
    assert [backoff.after_run(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert [backoff.after_run(600), backoff.after_run(1)] == [0, 10]


def test_pauses_read_as_kubelets() -> None:
    assert [describe_wait(s) for s in (10, 80, 300)] == ["10s", "1m20s", "5m0s"]
