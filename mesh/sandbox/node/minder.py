"""The life of one container: start, end, restart; and how it is killed.

    waiting → started → attended (hooks, probes) → ended → (restart policy, back-off) → started
    another image in the pod's spec: what runs is killed and started again, what waits tries at once
Whoever starts containers in order waits for `passed`: an init container has ended for good, a sidecar has passed its startup
probe, an ordinary one has run its postStart hook (or cannot start for now: the next one need not wait for that).
"""

import contextlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trio

from mesh.sandbox.images import Image, UnknownImage
from mesh.sandbox.node import lifecycle, podspec
from mesh.sandbox.node.attendant import Attendant, grace_seconds
from mesh.sandbox.node.container import container_key, launch, public_id
from mesh.sandbox.node.context import Pod
from mesh.sandbox.node.crilog import select
from mesh.sandbox.node.podspec import SpecError
from mesh.sandbox.node.podstatus import Record, Role, Running, Terminated, Waiting
from mesh.sandbox.node.probing import Target
from mesh.sandbox.node.runtimeclient import Exit, RuntimeFailure

Json = dict[str, Any]
_MESSAGE_BYTES = 4096
_CONFIG_RETRY_SECONDS = 10.0


class Minder:
    """One container of one pod."""

    def __init__(self, pod: Pod, spec: Json, record: Record) -> None:
        self.pod, self.spec, self.record = pod, spec, record
        self.passed = trio.Event()
        self.key = ""
        self._killed = ""
        self._redefined = trio.Event()
        self._reset_backoff()

    async def run(self) -> None:
        """Keep the container as its pod wants it, until it has ended for good or the pod stops."""
        try:
            adopted = self._adopt()
            while adopted or not self.pod.stopping:
                end = await self._one_run(adopted)
                adopted = False
                if end is None or self.pod.stopping:
                    return
                if not self._is_replaced():
                    if not self._restarts(end):
                        return
                    await self._pause_before_restart(end)
                if not self.pod.stopping:
                    self.record.last = end
                    self.record.restarts += 1
        finally:
            self.passed.set()
            self.pod.changed()

    def redefine(self, spec: Json) -> None:
        """The pod's spec has this container now: with another image, it is started again. Source: kubelet computePodActions."""
        if spec["image"] == self.spec["image"]:
            return
        self.spec = spec
        self._reset_backoff()
        self._redefined.set()

    def is_running(self) -> bool:
        return isinstance(self.record.state, Running)

    async def kill(self, grace_seconds: float, why: str) -> None:
        """preStop, SIGTERM, and SIGKILL when the time is over. Returns when it has ended."""
        if not self.is_running():
            return
        if self._killed == self.key:  # somebody is at it, and follows the pod's grace when that is shortened
            await self.pod.node.runtime.wait(self.key)
            return
        self._killed = self.key
        self.pod.event("Normal", "Killing", why, self.spec["name"])
        runtime = self.pod.node.runtime
        with self.pod.grace.scope(trio.current_time() + grace_seconds):
            await self._pre_stop()
            await self._signal(15)
            await runtime.wait(self.key)
            return
        if grace_seconds > 0 and (self.spec.get("lifecycle") or {}).get("preStop"):
            await self._signal(15)
            with trio.move_on_after(min(lifecycle.MINIMUM_GRACE_SECONDS, grace_seconds)):
                await runtime.wait(self.key)
        await self._signal(9)
        await runtime.wait(self.key)

    # -- one run ------------------------------------------------------------------------------------------------------

    def _adopt(self) -> bool:
        """Whether the runtime still has this container from before the node agent was restarted."""
        self.key = container_key(self.pod.pod["metadata"]["uid"], self.spec["name"], self.record.restarts)
        known = self.pod.node.adopted.pop(self.key, None)
        if known is None:
            return False
        self.record.state = Running(known.started_at)
        self.record.container_id = public_id(self.key)
        if self.record.image != self.spec["image"]:
            self._redefined.set()
        return True

    async def _one_run(self, adopted: bool) -> Terminated | None:
        """Start and attend the container until it ends; None = the pod stops before it could start."""
        if not adopted:
            failure = await self._start()
            if self.key == "":
                return None
            if failure is not None:
                return failure
        state = self.record.state
        assert isinstance(state, Running)
        async with trio.open_nursery() as nursery:
            target = Target(self.spec, self.key, self.pod.ip)
            nursery.start_soon(Attendant(self.pod, target, self.record, self.passed, self.kill).run, adopted)
            nursery.start_soon(self._replace_when_redefined)
            if self.pod.stopping:  # while it was being started: who stopped the others found nothing to kill here
                left = max(0.0, self.pod.grace.deadline - trio.current_time())
                nursery.start_soon(self.kill, left, f"Stopping container {self.spec['name']}")
            end = await self.pod.node.runtime.wait(self.key)
            nursery.cancel_scope.cancel()
        return self._ended(end, state.started_at)

    async def _replace_when_redefined(self) -> None:
        await self._redefined.wait()
        if self._is_replaced() and not self.pod.stopping:
            await self.kill(grace_seconds(self.pod.pod), f"Container {self.spec['name']} definition changed, will be restarted")

    def _is_replaced(self) -> bool:
        # An init container runs to its end as it was begun.
        return self._redefined.is_set() and self.record.role in (Role.MAIN, Role.SIDECAR)

    def _ended(self, end: Exit, started_at: float) -> Terminated:
        message = self._termination_message(end)
        ended = Terminated(
            end.code, lifecycle.exit_reason(end.code), started_at, end.finished_at, public_id(self.key), message, end.signal
        )
        self.record.state, self.record.ready, self.record.started = ended, False, False
        if self._is_replaced():  # an end that nobody chose must not end a pod that never restarts
            self.record.state, self.record.last = Waiting("ContainerCreating"), ended
        if self.record.role is Role.MAIN:
            self.passed.set()
        self.pod.changed()
        return ended

    def _restarts(self, end: Terminated) -> bool:
        return lifecycle.restarts(self.record.role, self.pod.pod["spec"].get("restartPolicy", "Always"), end.exit_code)

    async def _pause_before_restart(self, end: Terminated) -> None:
        wait = self._backoff.after_run(end.finished_at - end.started_at)
        if wait <= 0:
            return
        meta, name = self.pod.pod["metadata"], self.spec["name"]
        who = f"{name} pod={meta['name']}_{meta['namespace']}({meta['uid']})"
        self.record.last = end
        self.record.state = Waiting("CrashLoopBackOff", f"back-off {lifecycle.describe_wait(wait)} restarting failed container={who}")
        self.pod.event("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {meta['name']}_{meta['namespace']}({meta['uid']})", name)
        self.pod.changed()
        with self.pod.interruptible(), trio.move_on_after(wait):
            await self._redefined.wait()

    async def _start(self) -> Terminated | None:
        """Start the container, however often that takes. Sets `key` to "" if the pod stops first.

        Returns: None when it runs, or how it "ended" when its command cannot be executed.
        """
        self.key = ""
        while not self.pod.stopping:
            self._redefined = trio.Event()
            self.record.image = self.spec["image"]
            try:
                image = self.pod.node.resolve_image(self.spec["image"])
                path, key = self._prepare(image)
            except UnknownImage as exc:
                await self._no_image(str(exc))
                continue
            except SpecError as exc:
                await self._bad_config(exc)
                continue
            self.key = key
            return await self._launch(path)
        return None

    def _prepare(self, image: Image) -> tuple[Path, str]:
        pod, node, name, attempt = self.pod.pod, self.pod.node, self.spec["name"], self.record.restarts
        namespace = pod["metadata"]["namespace"]
        links = pod["spec"].get("enableServiceLinks", True)
        services = podspec.service_environment(node.services.all(), namespace, links)
        env = podspec.environment(
            pod, self.spec, image, node.facts(self.pod.ip), services, lambda kind, what: node.lookup(namespace, kind, what)
        )
        message = self.pod.files.termination_message(name, attempt)
        message.parent.mkdir(parents=True, exist_ok=True)
        message.touch()
        message.chmod(0o666)
        plan = launch(node.layout, self.pod.files, pod, self.spec, image, env, attempt, self.pod.ip, self._target())
        directory = self.pod.files.container(name, attempt)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        path = directory / "launch.json"
        path.write_text(json.dumps(asdict(plan)))
        path.chmod(0o600)
        return path, plan.id

    def _target(self) -> str:
        """The runtime's id of the container whose processes an ephemeral one asks to see."""
        name = self.spec.get("targetContainerName")
        if not name:
            return ""
        key = self.pod.running_key(name)
        if key is None:
            raise SpecError(f'target container "{name}" is not running', "CreateContainerError")
        return key

    async def _launch(self, path: Path) -> Terminated | None:
        name = self.spec["name"]
        self.pod.event("Normal", "Pulled", f'Container image "{self.spec["image"]}" already present on machine', name)
        self.pod.event("Normal", "Created", f"Created container: {name}", name)
        self.record.container_id = public_id(self.key)
        try:
            known = await self.pod.node.runtime.start(path)
        except RuntimeFailure as exc:
            self.pod.event("Warning", "Failed", f"Error: failed to start container: {exc}", name)
            now = self.pod.node.clock()
            self.passed.set() if self.record.role is Role.MAIN else None
            ended = Terminated(128, "StartError", now, now, self.record.container_id, str(exc))
            self.record.state = ended
            self.pod.changed()
            return ended
        self.record.state = Running(known.started_at)
        self.pod.event("Normal", "Started", f"Started container {name}", name)
        self.pod.changed()
        await self._forget_older()
        return None

    async def _forget_older(self) -> None:
        """Of earlier runs only the log of the last one is kept (`kubectl logs --previous`)."""
        name, attempt, uid = self.spec["name"], self.record.restarts, self.pod.pod["metadata"]["uid"]
        if attempt == 0:
            return
        with contextlib.suppress(RuntimeFailure):
            await self.pod.node.runtime.forget(container_key(uid, name, attempt - 1))
        shutil.rmtree(self.pod.files.container(name, attempt - 1), ignore_errors=True)
        if attempt > 1:
            old = self.pod.files.log(name, attempt - 2)
            for path in (old, old.with_name(old.name + ".1"), self.pod.files.termination_message(name, attempt - 2)):
                path.unlink(missing_ok=True)

    async def _no_image(self, why: str) -> None:
        image, name = self.spec["image"], self.spec["name"]
        self._wait_for("ErrImagePull", why)
        self.pod.event("Warning", "Failed", f'Failed to pull image "{image}": {why}', name)
        self.pod.event("Warning", "Failed", "Error: ErrImagePull", name)
        wait = self._pull_backoff.after_run(0)
        with self.pod.interruptible(), trio.move_on_after(wait):
            with trio.move_on_after(min(wait, 1.0)):  # long enough for a person to see the first reason
                await self._redefined.wait()
                return
            self._wait_for("ImagePullBackOff", f'Back-off pulling image "{image}": {why}')
            self.pod.event("Normal", "BackOff", f'Back-off pulling image "{image}"', name)
            await self._redefined.wait()

    async def _bad_config(self, exc: SpecError) -> None:
        self._wait_for(exc.reason, str(exc))
        self.pod.event("Warning", "Failed", f"Error: {exc}", self.spec["name"])
        with self.pod.interruptible(), trio.move_on_after(_CONFIG_RETRY_SECONDS):
            await self.pod.config_changed.wait()

    def _wait_for(self, reason: str, message: str) -> None:
        self.record.state = Waiting(reason, message)
        if self.record.role is Role.MAIN:
            self.passed.set()
        self.pod.changed()

    async def _pre_stop(self) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and (why := await self.pod.node.prober.hook(hook, Target(self.spec, self.key, self.pod.ip))) is not None:
            self.pod.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {why}", self.spec["name"])

    async def _signal(self, number: int) -> None:
        if self.pod.node.runtime.exit_of(self.key) is None:
            await self.pod.node.runtime.signal(self.key, number)

    def _reset_backoff(self) -> None:
        self._backoff = lifecycle.Backoff()
        self._pull_backoff = lifecycle.Backoff(lifecycle.FIRST_BACKOFF_SECONDS)

    def _termination_message(self, end: Exit) -> str:
        name, attempt = self.spec["name"], self.record.restarts
        path = self.pod.files.termination_message(name, attempt)
        message = path.read_bytes()[:_MESSAGE_BYTES].decode(errors="replace") if path.exists() else ""
        if not message and end.code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            log = self.pod.files.log(name, attempt)
            lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
            text = b"".join(entry.text for entry in select(lines[-80:], since=None, tail=None))
            message = text[-2048:].decode(errors="replace")
        return message
