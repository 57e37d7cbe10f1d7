"""Volumes of a pod: what they wait for, and how they follow the API."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.kubeclient import CONFIGMAPS, Resource
from tests.support.node import is_running, node

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]

Json = dict[str, Any]


def config_map(value: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"key": value}}


MOUNTED: Json = {"volumes": [{"name": "v", "configMap": {"name": "cm"}}]}
MOUNTS: Json = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}


async def test_a_pod_waits_for_its_config_map_and_then_follows_it(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        pod = await here.create("p", container=MOUNTS, **MOUNTED)
        assert 'configmap "cm" not found' in (await here.event("p", "FailedMount"))["message"].lower()
        await here.client.create(CONFIGMAPS, "default", config_map("one"))
        await here.until("p", is_running)
        file = here.context.layout.pod(pod["metadata"]["uid"]) / "volumes" / "v" / "key"
        assert file.read_text() == "one"
        await here.client.update(CONFIGMAPS, config_map("two") | {"metadata": {"name": "cm", "namespace": "default"}})
        while file.read_text() == "one":  # written by a task that the informer wakes
            await here.context.runtime.containers()
        assert file.read_text() == "two"


async def test_a_token_is_the_pods_own_and_renewed_before_it_ends(tmp_path: Path) -> None:
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "https://kubernetes.default.svc.cluster.local"}}
    async with node(tmp_path) as here:
        now = [time.time()]
        object.__setattr__(here.context, "clock", lambda: now[0])
        pod = await here.create("p", container=MOUNTS, volumes=[{"name": "v", "projected": {"sources": [token]}}])
        await here.until("p", is_running)
        file = here.context.layout.pod(pod["metadata"]["uid"]) / "volumes" / "v" / "token"
        first = file.read_text()
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": first}}
        answer = await here.client.create(Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False), "", review)
        extra = answer["status"]["user"]["extra"]
        assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
        volumes = here.node.workers[pod["metadata"]["uid"]]._volumes
        (wish,) = volumes._tokens
        assert volumes._tokens[wish][1] == pytest.approx(now[0] + 480, abs=5)
        assert await volumes._token(wish) == first
        now[0] += 479
        here.node.workers[pod["metadata"]["uid"]].poke()
        assert await volumes._token(wish) == first
        now[0] += 2
        here.node.workers[pod["metadata"]["uid"]].poke()
        while file.read_text() == first:  # written by the task that was woken
            await here.context.runtime.containers()
        assert volumes._tokens[wish][1] > now[0]
