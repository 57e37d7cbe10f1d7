from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest import MonkeyPatch

from mesh.sandbox.apiserver.hookclient import HookCaller
from mesh.sandbox.apiserver.webhooks import Hook, HookError
from tests.support.apiserver_local import Local, local
from tests.support.apiserver_peers import json_patch

CM = "/api/v1/namespaces/default/configmaps"
HOOKS = "/apis/admissionregistration.k8s.io/v1"


async def register(api: Local, kind: str, name: str, **more: Any) -> None:
    rules = [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]
    hook = {"name": f"{name}.example.com", "clientConfig": {"url": "https://hook"}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": rules, **more}
    await api.create(f"{HOOKS}/{kind}webhookconfigurations", name, webhooks=[hook])


def answers(monkeypatch: MonkeyPatch, asked: list[str], **by_name: Any) -> None:
    """The network's place is taken: `call` answers from `by_name` (a dict, or an exception to raise)."""

    async def call(self: HookCaller, hook: Hook, review: dict[str, Any]) -> Any:
        asked.append(hook.configuration)
        found = by_name[hook.configuration]
        if isinstance(found, Exception):
            raise found
        return {**review, "response": {"uid": review["request"]["uid"], **found}}

    monkeypatch.setattr(HookCaller, "call", call)


async def test_mutating_hooks_run_in_order_of_name_then_validating_ones(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    asked: list[str] = []
    answers(monkeypatch, asked, a=json_patch({"op": "add", "path": "/data", "value": {"by": "a"}}), b=json_patch({"op": "replace", "path": "/data/by", "value": "b"}), v={"allowed": True})
    async with local(tmp_path) as api:
        for name in "ba":
            await register(api, "mutating", name)
        await register(api, "validating", "v")
        made = await api.create(CM, "c")
        assert made["data"] == {"by": "b"} and asked == ["a", "b", "v"]
        assert "managedFields" not in made["metadata"]  # the request itself set nothing that can be owned


async def test_webhook_configurations_are_never_sent_to_webhooks(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    asked: list[str] = []
    answers(monkeypatch, asked, a={"allowed": False})
    async with local(tmp_path) as api:
        await register(api, "validating", "a")
        assert (await api.call("DELETE", f"{HOOKS}/validatingwebhookconfigurations/a"))[0] == 200
        assert asked == []


async def test_first_refusal_by_name_wins_and_failures_follow_their_policy(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    answers(monkeypatch, [], a=HookError("unreachable"), b={"allowed": False, "status": {"message": "no"}}, c={"allowed": False})
    async with local(tmp_path) as api:
        await register(api, "validating", "a", failurePolicy="Ignore")
        for name in "cb":
            await register(api, "validating", name)
        code, said = await api.call("POST", CM, {"metadata": {"name": "c"}})
        assert (code, said["message"]) == (400, 'admission webhook "b.example.com" denied the request: no')
        assert 'admission_duration_seconds_count{name="a.example.com",outcome="error"} 1' in api.metrics.text({})


async def test_namespaces_are_judged_by_their_own_labels(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    asked: list[str] = []
    answers(monkeypatch, asked, a={"allowed": True})
    async with local(tmp_path) as api:
        await register(api, "validating", "a", namespaceSelector={"matchLabels": {"x": "y"}})
        await api.create("/api/v1/namespaces", "plain")
        assert asked == []
        await api.create("/api/v1/namespaces", "labelled", metadata={"labels": {"x": "y"}})
        assert asked == ["a"]
        await api.create("/api/v1/namespaces/labelled/configmaps", "c")
        assert asked == ["a", "a"]
