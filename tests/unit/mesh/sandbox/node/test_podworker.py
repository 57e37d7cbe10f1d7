"""The life of a pod: order of its containers, deadlines, deletion, ephemeral containers; on a real node."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from mesh.sandbox.kubeclient import PODS
from tests.support.node import is_running, node, state_of, status_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]

Json = dict[str, Any]


def container(name: str, script: str, **more: Any) -> Json:
    return {"name": name, "image": "busybox:1", "command": ["sh", "-c", script], **more}


def phase(pod: Json | None) -> str:
    return str(((pod or {}).get("status") or {}).get("phase"))


async def test_init_containers_and_sidecars_come_in_order_before_the_rest(tmp_path: Path) -> None:
    share = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    async with node(tmp_path) as here:
        started = {"exec": {"command": ["test", "-e", "/v/up"]}}
        inits = [
            container("one", "echo one >>/v/log", **share),
            container("side", "trap 'exit 0' TERM; echo side >>/v/log; touch /v/up; sleep 1000 & wait", restartPolicy="Always", startupProbe={**started, "periodSeconds": 1}, **share),
            container("two", "echo two >>/v/log", **share),
        ]
        spec = {"initContainers": inits, "containers": [container("main", "echo main >>/v/log; cat /v/log", **share)], "volumes": [{"name": "v", "emptyDir": {}}]}
        await here.create("p", restartPolicy="Never", **spec)
        pod = await here.until("p", lambda found: phase(found) == "Succeeded")
        assert [line.split(" ", 3)[3] for line in here.log(pod).splitlines()] == ["one", "side", "two", "main"]
        # The sidecar goes when the last ordinary container has ended.
        await here.until("p", lambda found: "terminated" in state_of(found, "side"))


async def test_a_failed_init_container_ends_a_pod_that_never_restarts(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", initContainers=[container("one", "exit 9")], restartPolicy="Never")
        pod = await here.until("p", lambda found: phase(found) == "Failed")
        assert state_of(pod, "one")["terminated"]["exitCode"] == 9 and state_of(pod, "main") == {"waiting": {"reason": "PodInitializing"}}


async def test_a_deadline_may_come_while_the_pod_runs(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", "trap 'exit 0' TERM; sleep 1000 & wait")
        await here.until("p", is_running)
        await here.client.patch(PODS, "default", "p", {"spec": {"activeDeadlineSeconds": 1}})
        pod = await here.until("p", lambda found: phase(found) == "Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"
        await here.event("p", "DeadlineExceeded")


async def test_a_deleted_pod_stops_in_its_grace_and_leaves_nothing(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        pod = await here.create("p", "trap 'exit 0' TERM; echo up; sleep 1000 & wait")
        await here.until("p", is_running)
        await here.said(pod, "up")
        directory = here.context.layout.pod(pod["metadata"]["uid"])
        assert directory.exists()
        await here.client.delete(PODS, "default", "p", grace_seconds=20)
        with trio.fail_after(5):
            await here.until("p", lambda found: found is None)
        assert not directory.exists() and await here.context.runtime.containers() == {}


async def test_a_deletion_without_grace_shortens_one_with_it(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", "trap '' TERM; while :; do sleep 1000; done")
        await here.until("p", is_running)
        await here.client.delete(PODS, "default", "p", grace_seconds=1000)
        await here.event("p", "Killing")
        await here.client.delete(PODS, "default", "p", grace_seconds=1)
        with trio.fail_after(10):
            await here.until("p", lambda found: found is None)


async def test_a_pod_that_is_deleted_while_its_container_starts_stops_it(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        here.runtime.send_signal(signal.SIGSTOP)
        pod = await here.create("p", "trap 'exit 0' TERM; sleep 1000 & wait")
        await here.event("p", "Created")  # the runtime has been asked, and does not answer yet
        await here.client.delete(PODS, "default", "p", grace_seconds=1)
        worker = here.node.workers[pod["metadata"]["uid"]]
        await here.until("p", lambda found: worker.stopping)
        await trio.testing.wait_all_tasks_blocked()
        here.runtime.send_signal(signal.SIGCONT)
        with trio.fail_after(10):
            await here.until("p", lambda found: found is None)


async def test_an_ephemeral_container_joins_a_running_pod_once(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        pod = await here.create("p", "exec sleep 1000")
        await here.until("p", is_running)
        debug = container("debug", "cat /proc/1/comm; exit 4", targetContainerName="main")
        await here.client.patch(PODS, "default", "p", {"spec": {"ephemeralContainers": [debug]}}, sub="ephemeralcontainers", kind="strategic")
        found = await here.until("p", lambda found: "terminated" in state_of(found, "debug"))
        status = found["status"]["ephemeralContainerStatuses"][0]
        assert (status["state"]["terminated"]["exitCode"], status["restartCount"], phase(found)) == (4, 0, "Running")
        assert here.log(pod, "debug").endswith(" sleep\n") and is_running(found)
        fields = {event["involvedObject"]["fieldPath"] for event in [await here.event("p", "Started", 2)]}
        assert fields == {"spec.ephemeralContainers{debug}"}


async def test_an_ephemeral_container_whose_target_does_not_run_says_so(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", "exit 0", restartPolicy="OnFailure", containers=[container("main", "exit 0"), container("other", "sleep 1000")])
        await here.until("p", lambda found: "terminated" in state_of(found, "main") and "running" in state_of(found, "other"))
        debug = container("debug", "true", targetContainerName="main")
        await here.client.patch(PODS, "default", "p", {"spec": {"ephemeralContainers": [debug]}}, sub="ephemeralcontainers", kind="strategic")
        found = await here.until("p", lambda found: "waiting" in state_of(found, "debug") and state_of(found, "debug")["waiting"]["reason"] != "ContainerCreating")
        assert state_of(found, "debug")["waiting"] == {"reason": "CreateContainerError", "message": 'target container "main" is not running'}


async def test_what_the_sandbox_does_not_enforce_is_said(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("p", container={"resources": {"limits": {"cpu": "1"}}})
        assert "resources.limits" in (await here.event("p", "NotEnforced"))["message"]
        await here.until("p", lambda found: bool(status_of(found).get("ready")))
