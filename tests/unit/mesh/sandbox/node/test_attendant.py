"""Hooks and probes of real containers."""

import os
from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.node.attendant import grace_seconds
from mesh.sandbox.node.probes import parse_probe
from tests.support.node import is_running, node, state_of, status_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]

Json = dict[str, Any]


def trapping(code: int) -> str:
    """Ends with `code` when it is told to stop."""
    return f"trap 'exit {code}' TERM; touch /tmp/up; sleep 1000 & wait"


FAIL_WHEN_UP = "until test -e /tmp/up; do :; done; echo no; exit 1"
"""Not before: a first process that has set no trap yet is not ended by SIGTERM."""


def shell(script: str) -> Json:
    return {"exec": {"command": ["sh", "-c", script]}}


def test_a_probe_may_have_a_grace_of_its_own() -> None:
    pod = {"spec": {"terminationGracePeriodSeconds": 7}}
    assert [grace_seconds(pod), grace_seconds(pod, parse_probe(shell("true"))), grace_seconds({"spec": {}})] == [7.0, 7.0, 30.0]
    assert grace_seconds(pod, parse_probe({**shell("true"), "terminationGracePeriodSeconds": 2})) == 2.0


async def test_a_container_is_ready_when_its_readiness_probe_says_so_and_no_longer(tmp_path: Path) -> None:
    # The probe succeeds exactly once: at its second attempt.
    script = 'echo x >>/tmp/n; test "$(wc -l </tmp/n)" = 2'
    async with node(tmp_path) as here:
        await here.create("p", container={"readinessProbe": {**shell(script), "periodSeconds": 1, "failureThreshold": 1}})
        first = await here.until("p", is_running)
        assert not status_of(first)["ready"]
        await here.until("p", lambda found: status_of(found)["ready"])
        again = await here.until("p", lambda found: not status_of(found)["ready"])
        assert status_of(again)["restartCount"] == 0
        assert (await here.event("p", "Unhealthy"))["message"].startswith("Readiness probe failed: ")


async def test_a_startup_probe_that_fails_restarts_the_container_before_it_was_started(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        probe = {**shell(FAIL_WHEN_UP), "timeoutSeconds": 20, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 20}
        await here.create("p", trapping(5), container={"startupProbe": probe, "readinessProbe": shell("true")})
        pod = await here.until("p", lambda found: status_of(found).get("restartCount") == 1)
        assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 5 and not status_of(pod)["started"]
        assert (await here.event("p", "Killing"))["message"] == "Container main failed startup probe, will be restarted"


async def test_a_liveness_probe_that_fails_restarts_the_container(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        probe = {**shell(FAIL_WHEN_UP), "timeoutSeconds": 20, "periodSeconds": 1, "failureThreshold": 1}
        await here.create("p", trapping(6), container={"livenessProbe": probe}, terminationGracePeriodSeconds=20)
        pod = await here.until("p", lambda found: status_of(found).get("restartCount") == 1)
        assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 6
        assert (await here.event("p", "Killing"))["message"] == "Container main failed liveness probe, will be restarted"


async def test_a_post_start_hook_that_fails_ends_the_container_and_holds_the_next_one_back(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        first = {"name": "main", "image": "busybox:1", "command": ["sh", "-c", trapping(7)], "lifecycle": {"postStart": shell(FAIL_WHEN_UP)}}
        second = {"name": "next", "image": "busybox:1", "command": ["sleep", "1000"]}
        await here.create("p", containers=[first, second], restartPolicy="Never", terminationGracePeriodSeconds=20)
        pod = await here.until("p", lambda found: "running" in state_of(found, "next"))
        assert state_of(pod, "main")["terminated"]["exitCode"] == 7
        assert "no" in (await here.event("p", "FailedPostStartHook"))["message"]
