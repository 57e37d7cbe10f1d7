from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.apiserver_local import JSON_PATCH, MERGE, STRATEGIC, Local, local

PODS = "/api/v1/namespaces/default/pods"
SETS = "/apis/apps/v1/namespaces/default/replicasets"


async def pod(api: Local, name: str, **labels: str) -> Any:
    return await api.create(PODS, name, metadata={"labels": labels}, spec={"containers": [{"name": "a", "image": "i:1"}]})


async def test_scale_reads_and_writes(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "i:1"}]}}
        await api.create(SETS, "s", spec={"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template})
        _, found = await api.call("GET", f"{SETS}/s/scale")
        assert (found["spec"], found["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "a=b"})
        found["spec"]["replicas"] = 0
        assert (await api.call("PUT", f"{SETS}/s/scale", found))[1]["spec"] == {"replicas": 0}
        assert (await api.call("PUT", f"{SETS}/s/scale", found))[0] == 409
        assert (await api.call("PATCH", f"{SETS}/s/scale", [{"op": "replace", "path": "/spec/replicas", "value": 3}], JSON_PATCH))[1]["spec"] == {"replicas": 3}
        assert (await api.call("PATCH", f"{SETS}/s/scale", {"spec": {"replicas": -1}}, MERGE))[0] == 422
        assert (await api.call("GET", f"{SETS}/none/scale"))[0] == 404 and (await api.call("GET", f"{PODS}/p/scale"))[0] == 404


async def test_binding_once(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await pod(api, "p")
        assert (await api.call("POST", f"{PODS}/p/binding", {"target": {}}))[0] == 422
        assert (await api.call("POST", f"{PODS}/p/binding", {"target": {"name": "n1"}}))[0] == 201
        _, found = await api.call("GET", f"{PODS}/p")
        assert found["spec"]["nodeName"] == "n1" and found["status"]["conditions"][0]["type"] == "PodScheduled"
        code, said = await api.call("POST", f"{PODS}/p/binding", {"target": {"name": "n2"}})
        assert code == 409 and 'already assigned to node "n1"' in said["message"]
        assert (await api.call("POST", f"{PODS}/none/binding", {"target": {"name": "n1"}}))[0] == 404


async def test_eviction_respects_budgets(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await pod(api, "p", app="x")
        budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
        made = await api.create(budgets, "b", spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}})
        code, said = await api.call("POST", f"{PODS}/p/eviction", {})
        assert code == 429 and said["details"]["causes"][0]["reason"] == "DisruptionBudget"
        await api.call("PUT", f"{budgets}/b/status", {**made, "status": {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}})
        assert (await api.call("POST", f"{PODS}/p/eviction", {}))[0] == 201
        assert (await api.call("GET", f"{PODS}/p"))[0] == 404


async def test_token_binding_is_checked(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        made = await pod(api, "p")
        path = "/api/v1/namespaces/default/serviceaccounts/default/token"

        async def ask(**reference: str) -> int:
            return (await api.call("POST", path, {"spec": {"boundObjectRef": reference}}))[0]

        assert await ask(kind="Pod", name="p", uid=made["metadata"]["uid"]) == 201
        assert [await ask(kind="Pod", name="p", uid="x"), await ask(kind="Pod", name="none"), await ask(kind="Node", name="n")] == [409, 404, 400]
        await api.create("/api/v1/namespaces/default/serviceaccounts", "other")
        assert (await api.call("POST", path.replace("/default/token", "/other/token"), {"spec": {"boundObjectRef": {"kind": "Pod", "name": "p"}}}))[0] == 400


async def test_what_a_node_cannot_do_is_501(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await pod(api, "p")
        assert (await api.call("PATCH", f"{PODS}/p/resize", {}, MERGE))[0] == 501
        assert (await api.call("GET", f"{PODS}/p/nothing"))[0] == 404


async def test_ephemeral_containers_are_added_by_their_own_door_only(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await pod(api, "p")
        added = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox:1"}], "activeDeadlineSeconds": 5}}
        assert (await api.call("PATCH", f"{PODS}/p", added, STRATEGIC))[0] == 422
        code, made = await api.call("PATCH", f"{PODS}/p/ephemeralcontainers", added, STRATEGIC)
        assert code == 200 and "activeDeadlineSeconds" not in made["spec"]
        assert [(c["name"], c["terminationMessagePath"]) for c in made["spec"]["ephemeralContainers"]] == [("debug", "/dev/termination-log")]
        assert (await api.call("PATCH", f"{PODS}/p/ephemeralcontainers", {"spec": {"ephemeralContainers": []}}, MERGE))[0] == 422
        code, refused = await api.call("POST", PODS, {"metadata": {"name": "q"}, "spec": {**made["spec"]}})
        assert code == 422 and "cannot be set on create" in refused["message"]


async def test_finalize_is_the_only_door_to_a_namespaces_finalizers(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create("/api/v1/namespaces", "n")
        _, found = await api.call("PATCH", "/api/v1/namespaces/n", {"spec": {"finalizers": []}}, MERGE)
        assert found["spec"]["finalizers"] == ["kubernetes"]
        found["spec"] = {}
        _, after = await api.call("PUT", "/api/v1/namespaces/n/finalize", found)
        assert after["spec"] == {}
