"""Admission: what may still change or refuse a write, in the order of a real server.

Mutating: ServiceAccount and tolerations of pods, then webhooks (`webhooks` decides which and reads their answers; the calls are made
here), then once more those webhooks that ask to see what others changed. Validating: webhooks, all at once.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import trio

from mesh.sandbox.apiserver import convert, podadmission, status, webhooks
from mesh.sandbox.apiserver.hookclient import HookCaller
from mesh.sandbox.apiserver.metrics import Metrics
from mesh.sandbox.apiserver.storage import Key, Store
from mesh.sandbox.apiserver.webhooks import Hook, HookError, Operation

if TYPE_CHECKING:
    from mesh.sandbox.apiserver.cluster import Call, Cluster

log = logging.getLogger("mesh.sandbox.apiserver.admission")

Obj = dict[str, Any]

__all__ = ["Admission", "Operation"]

# Nothing that could repair a broken webhook may depend on one.
EXEMPT_GROUPS = ("admissionregistration.k8s.io",)


class Admission:
    """Built-in plug-ins and webhooks over one store."""

    def __init__(self, store: Store, caller: HookCaller, metrics: Metrics, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._caller = caller
        self._metrics = metrics
        self._clock = clock

    async def admit(self, cluster: Cluster, call: Call, operation: Operation, new: Obj, old: Obj | None) -> Obj:
        """The object after everything that may change it. Raises: ApiError 403, 500, or what a webhook answers."""
        from mesh.sandbox.apiserver import prepare

        is_new_pod = call.resource.key == "pods" and operation is Operation.CREATE and not call.target.subresource
        if is_new_pod:
            podadmission.admit(new, self._store, call.target.namespace)
        hooks = self._hooks(cluster, "mutatingwebhookconfigurations", call, operation, new, old)
        changed_by: list[int] = []
        for index, hook in enumerate(hooks):
            before = new
            new = await self._mutate(call, hook, operation, new, old)
            if new is not before and new != before:
                changed_by.append(index)
                prepare.normalise(new, old, call)
        if changed_by:
            if is_new_pod:  # containers that a webhook added want the account's token too
                podadmission.admit(new, self._store, call.target.namespace)
            # A hook that asked for it sees the object again if a later one changed it.
            for index, hook in enumerate(hooks):
                if hook.reinvoke and changed_by[-1] > index:
                    new = await self._mutate(call, hook, operation, new, old)
            prepare.normalise(new, old, call)
        return new

    async def validate(self, cluster: Cluster, call: Call, operation: Operation, new: Obj | None, old: Obj | None) -> None:
        """Raises: ApiError: the first refusal in order of configuration."""
        if operation is Operation.DELETE:
            for hook in self._hooks(cluster, "mutatingwebhookconfigurations", call, operation, None, old):
                await self._ask(call, hook, operation, None, old)
        hooks = self._hooks(cluster, "validatingwebhookconfigurations", call, operation, new, old)
        refusals: dict[int, status.ApiError] = {}

        async def ask(index: int, hook: Hook) -> None:
            try:
                await self._ask(call, hook, operation, new, old, is_validating=True)
            except status.ApiError as exc:
                refusals[index] = exc

        if hooks:
            async with trio.open_nursery() as nursery:
                for index, hook in enumerate(hooks):
                    nursery.start_soon(ask, index, hook)
        if refusals:
            raise refusals[min(refusals)]

    def _hooks(self, cluster: Cluster, plural: str, call: Call, operation: Operation, new: Obj | None, old: Obj | None) -> list[Hook]:
        if call.resource.group in EXEMPT_GROUPS:
            return []
        configurations = [stored.obj for _, stored in self._store.items(f"{plural}.admissionregistration.k8s.io")]
        if not configurations:
            return []
        # An object in a namespace is judged by that namespace's labels, a Namespace by its own.
        labels: dict[str, str] | None = None
        if call.resource.key == "namespaces":
            labels = (new or old or {})["metadata"].get("labels") or {}
        elif call.target.namespace:
            namespace = self._store.get(Key("namespaces", "", call.target.namespace))
            labels = (namespace.obj["metadata"].get("labels") or {}) if namespace else {}
        return webhooks.select(configurations, call, operation, new, old, labels, cluster.registry.versions(call.resource.key))

    async def _mutate(self, call: Call, hook: Hook, operation: Operation, new: Obj, old: Obj | None) -> Obj:
        answer = await self._ask(call, hook, operation, new, old)
        if answer is None or not answer.patch:
            return new
        try:
            shown = convert.between(copy.deepcopy(new), call.resource, hook.resource)
            patched = convert.between(webhooks.apply_patch(shown, answer, hook), hook.resource, call.resource)
        except webhooks.Moved as exc:
            raise status.bad_request(f'failed calling webhook "{hook.name}": {exc}') from exc
        except HookError as exc:
            raise status.internal(f'failed calling webhook "{hook.name}": {exc}') from exc
        return patched

    async def _ask(
        self, call: Call, hook: Hook, operation: Operation, new: Obj | None, old: Obj | None, is_validating: bool = False
    ) -> webhooks.Answer | None:
        """The answer of one hook; None when it failed and its policy is to ignore that. Raises: ApiError: refused, or failed."""
        if call.dry_run and hook.side_effects not in ("None", "NoneOnDryRun"):
            raise status.bad_request(f'admission webhook "{hook.name}" does not support dry run')
        if webhooks.unmet_condition(hook, call, operation, new, old):
            return None
        review = webhooks.review(call, hook, operation, new, old)
        started = trio.current_time()
        try:
            with trio.fail_after(hook.timeout_seconds):
                answer = webhooks.read_answer(await self._caller.call(hook, review), review, hook)
            if answer.patch and is_validating:
                raise HookError("validating webhook may not return response.patch")
        except (HookError, trio.TooSlowError) as exc:
            why = f"context deadline exceeded ({hook.timeout_seconds:g}s)" if isinstance(exc, trio.TooSlowError) else str(exc)
            self._metrics.observe_hook(hook.name, "error", trio.current_time() - started)
            log.warning("webhook %s (%s) failed: %s", hook.name, hook.configuration, why)
            if hook.ignores_failure:
                return None
            raise status.internal(f'failed calling webhook "{hook.name}": failed to call webhook: {why}') from exc
        self._metrics.observe_hook(hook.name, "allowed" if answer.allowed else "rejected", trio.current_time() - started)
        call.warnings += answer.warnings
        if not answer.allowed:
            raise webhooks.refusal(hook, answer)
        return answer
