"""The kubelet's HTTPS API over a real node."""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from mesh.sandbox.node.server import KubeletServer
from tests.support.node import Here, is_running, node, state_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]


REFUSALS = [
    ("/nothing", 404, "404 page not found"),
    ("/containerLogs/default/none/main", 404, 'pod "none_default" does not exist on this node'),
    ("/containerLogs/default/p/none", 404, "container none is not valid for pod p"),
    ("/containerLogs/default/p/main?tailLines=x", 400, "tailLines='x' is not a number"),
    ("/containerLogs/default/p/main?sinceTime=x", 400, "sinceTime='x'"),
    ("/containerLogs/default/p/main?previous=true", 400, 'previous terminated container "main" in pod "p" not found'),
    ("/exec/default/p/none?command=ls", 404, "container none is not valid"),
    ("/exec/default/p/main?command=ls", 400, "Upgrade request required"),
    ("/attach/default/p/main", 400, "Upgrade request required"),
    ("/portForward/default/p", 400, "Upgrade request required"),
]


@asynccontextmanager
async def kubelet(directory: Path) -> AsyncIterator[tuple[Here, httpx.AsyncClient]]:
    """A node that serves, and a client with the API server's certificate."""
    async with node(directory) as here, trio.open_nursery() as nursery:
        pki = here.state / "pki"
        port = await nursery.start(KubeletServer(here.context, here.node.workers).run, pki, "127.0.0.1", 0)
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.check_hostname = False  # its certificate is for the node's address
        context.load_cert_chain(pki / "apiserver-kubelet-client.crt", pki / "apiserver-kubelet-client.key")
        async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False) as client:
            yield here, client
        nursery.cancel_scope.cancel()


async def test_a_stranger_is_not_heard(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as (_, client):
        assert (await client.get("/healthz")).text == "ok"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with httpx.AsyncClient(base_url=client.base_url, verify=context, trust_env=False) as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get("/healthz")


async def test_pods_and_metrics_tell_what_runs(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as (here, client):
        assert (await client.get("/pods")).json()["items"] == []
        await here.create("p")
        await here.until("p", is_running)
        assert [pod["metadata"]["name"] for pod in (await client.get("/pods")).json()["items"]] == ["p"]
        lines = (await client.get("/metrics")).text.splitlines()
        assert "kubelet_running_pods 1" in lines and 'kubelet_running_containers{container_state="running"} 1' in lines


async def test_logs_of_a_container_and_of_the_one_before(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as (here, client):
        await here.create("p", "echo one; echo two; exit 1")
        await here.until("p", lambda found: state_of(found, "main").get("waiting", {}).get("reason") == "CrashLoopBackOff")
        path = "/containerLogs/default/p/main"
        assert [(await client.get(f"{path}{query}")).text for query in ("", "?tailLines=1", "?limitBytes=3", "?previous=true", "?sinceTime=2999-01-01T00:00:00Z")] == [
            "one\ntwo\n", "two\n", "one", "one\ntwo\n", ""
        ]
        stamped = (await client.get(f"{path}?timestamps=true&tailLines=1")).text
        assert stamped.endswith("Z two\n") and stamped[:2] == "20"


async def test_followed_logs_end_with_the_container(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as (here, client):
        pod = await here.create("p", "trap 'echo ended; exit 0' TERM; echo begun; sleep 1000 & wait", restartPolicy="Never")
        await here.until("p", is_running)
        async with client.stream("GET", "/containerLogs/default/p/main?follow=true", timeout=10) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "begun"
            minder = here.node.workers[pod["metadata"]["uid"]].minders["main"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(minder.kill, 5.0, "test")
                assert [line async for line in lines] == ["ended"]


async def test_refusals_name_what_was_asked_for(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as (here, client):
        await here.create("p")
        await here.until("p", is_running)
        for path, status, words in REFUSALS:
            answer = await client.get(path)
            assert (path, answer.status_code) == (path, status) and words in answer.text


async def test_a_container_that_waits_has_no_log_and_takes_no_command(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as (here, client):
        await here.create("p", container={"image": "example.invalid/none:1"})
        await here.until("p", lambda found: "waiting" in state_of(found, "main"))
        logs, command = await client.get("/containerLogs/default/p/main"), await client.get("/exec/default/p/main?command=ls")
        assert (logs.status_code, command.status_code) == (400, 500)
        assert 'container "main" in pod "p" is waiting to start' in logs.text and 'container not found ("main")' in command.text
