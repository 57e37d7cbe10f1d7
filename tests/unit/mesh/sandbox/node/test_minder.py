"""One container's life in a real runtime, told to a real API server: restarts, images that change, kills."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from mesh.sandbox.kubeclient import CONFIGMAPS, PODS
from tests.support.node import is_running, node, state_of, status_of

Json = dict[str, Any]
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]


async def test_a_container_that_fails_is_started_again_and_then_made_to_wait(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", "echo why >/dev/termination-log; exit 3")
        pod = await here.until("p", lambda found: state_of(found, "main").get("waiting", {}).get("reason") == "CrashLoopBackOff")
        status = status_of(pod)
        end = status["lastState"]["terminated"]
        assert (status["restartCount"], end["exitCode"], end["reason"], end["message"]) == (1, 3, "Error", "why\n")
        assert "back-off 10s restarting failed container=main" in status["state"]["waiting"]["message"]
        await here.event("p", "BackOff")


async def test_a_completed_container_of_a_pod_that_never_restarts_stays_so(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", "exit 0", restartPolicy="Never")
        pod = await here.until("p", lambda found: (found or {}).get("status", {}).get("phase") == "Succeeded")
        assert status_of(pod)["restartCount"] == 0


async def test_another_image_replaces_what_runs_whatever_the_restart_policy(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", restartPolicy="Never")
        await here.until("p", is_running)
        change = {"spec": {"containers": [{"name": "main", "image": "alpine:3"}]}}
        await here.client.patch(PODS, "default", "p", change, kind="strategic")
        pod = await here.until("p", lambda found: is_running(found) and status_of(found)["restartCount"] == 1)
        assert status_of(pod)["image"] == "alpine:3"
        assert (await here.event("p", "Killing"))["message"] == "Container main definition changed, will be restarted"
        assert (pod["status"]["phase"], status_of(pod)["lastState"]["terminated"]["exitCode"]) == ("Running", 137)


async def test_an_image_that_is_not_there_is_waited_for_until_the_pod_names_another(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", container={"image": "example.invalid/none:1"})
        await here.until("p", lambda found: state_of(found, "main").get("waiting", {}).get("reason") == "ImagePullBackOff")
        event = await here.event("p", "Failed")
        assert event["involvedObject"]["fieldPath"] == "spec.containers{main}"
        await here.client.patch(PODS, "default", "p", {"spec": {"containers": [{"name": "main", "image": "busybox:1"}]}}, kind="strategic")
        with trio.fail_after(5):  # and not after the back-off of ten seconds
            assert status_of(await here.until("p", is_running))["restartCount"] == 0


async def test_a_command_that_is_not_there_is_a_start_error(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", container={"command": ["/none"]}, restartPolicy="Never")
        pod = await here.until("p", lambda found: (found or {}).get("status", {}).get("phase") == "Failed")
        end = state_of(pod, "main")["terminated"]
        assert (end["reason"], end["exitCode"]) == ("StartError", 128) and 'exec: "/none"' in end["message"]


async def test_a_missing_config_map_is_said_and_its_coming_starts_the_container(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", 'echo "$K"; sleep 1000', container={"envFrom": [{"configMapRef": {"name": "cm"}}]})
        pod = await here.until("p", lambda found: state_of(found, "main").get("waiting", {}).get("reason") == "CreateContainerConfigError")
        assert state_of(pod, "main")["waiting"]["message"] == 'configmap "cm" not found'
        await here.client.create(CONFIGMAPS, "default", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"K": "value"}})
        with trio.fail_after(5):
            await here.until("p", is_running)


async def test_a_container_that_does_not_stop_is_killed_when_its_grace_is_over(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", "trap '' TERM; while :; do sleep 1000; done", restartPolicy="Never")
        pod = await here.until("p", is_running)
        minder = here.node.workers[pod["metadata"]["uid"]].minders["main"]
        await minder.kill(0.05, "because")
        pod = await here.until("p", lambda found: "terminated" in state_of(found, "main"))
        assert state_of(pod, "main")["terminated"]["exitCode"] == 137
        assert (await here.event("p", "Killing"))["message"] == "because"


async def test_of_earlier_runs_only_the_last_log_is_kept(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", "exit 1")

        def waits(found: Json | None, count: int) -> bool:
            reason = state_of(found, "main").get("waiting", {}).get("reason")
            return (reason, status_of(found).get("restartCount")) == ("CrashLoopBackOff", count)

        pod = await here.until("p", lambda found: waits(found, 1))
        logs = here.context.layout.pod(pod["metadata"]["uid"]) / "logs" / "main"
        assert sorted(path.name for path in logs.glob("*.log")) == ["0.log", "1.log"]
        # Another image ends the wait, and its first failure is again followed by a start at once.
        await here.client.patch(PODS, "default", "p", {"spec": {"containers": [{"name": "main", "image": "alpine:3"}]}}, kind="strategic")
        await here.until("p", lambda found: waits(found, 3))
        assert sorted(path.name for path in logs.glob("*.log")) == ["2.log", "3.log"]
