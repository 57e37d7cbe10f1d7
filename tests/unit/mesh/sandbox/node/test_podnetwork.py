"""The namespaces of pods: their own network, or the node's with a name of the node."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from mesh.sandbox.kubeclient import PODS
from mesh.sandbox.layout import NETNS_DIR
from mesh.sandbox.node.podnetwork import PodNetwork
from tests.support.node import is_running, node

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]


async def test_a_pod_on_the_nodes_network_has_the_nodes_name_and_ends_without_a_trace(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        pod = await here.create("p", "hostname; cat /etc/hostname; echo $HOSTNAME; echo end; sleep 1000")
        pod = await here.until("p", is_running)
        assert (pod["status"]["podIP"], pod["status"]["hostIP"]) == ("198.18.0.1", "198.18.0.1")
        await here.said(pod, "end")
        assert [line.split(" ", 3)[3] for line in here.log(pod).splitlines()] == ["node", "node", "node", "end"]
        spaces = here.node.workers[pod["metadata"]["uid"]].files.namespaces
        assert all(path.exists() for path in spaces.values()) and socket.gethostname() != "node"
        await here.client.delete(PODS, "default", "p", grace_seconds=1)
        await here.until("p", lambda found: found is None)
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


async def test_a_pod_with_a_network_of_its_own_reaches_the_node_and_gives_its_address_back(tmp_path: Path) -> None:
    async with node(tmp_path, networked=True) as here:
        await here.create("p", "sleep 1000", hostNetwork=False, hostname="me")
        pod = await here.until("p", is_running)
        uid, ip = pod["metadata"]["uid"], pod["status"]["podIP"]
        name = here.context.layout.pod_netns(uid)
        shown = subprocess.run(["ip", "-n", name, "-br", "addr"], capture_output=True, text=True, check=True).stdout
        assert f"{ip}/32" in shown
        route = subprocess.run(["ip", "-n", here.context.layout.node_netns, "route", "get", ip], capture_output=True, text=True, check=True).stdout
        assert f"dev veth{name[-8:]}" in route
        await here.client.delete(PODS, "default", "p", grace_seconds=1)
        await here.until("p", lambda found: found is None)
        assert not (NETNS_DIR / name).exists()
        assert ip not in here.context.addresses._taken


async def test_what_an_agent_left_half_made_is_made_anew_and_what_runs_is_adopted(tmp_path: Path) -> None:
    async with node(tmp_path, networked=True) as here:
        pod = await here.create("p", "sleep 1000", hostNetwork=False)
        pod = await here.until("p", is_running)
        worker = here.node.workers[pod["metadata"]["uid"]]
        # An agent that is started now finds the container in the runtime, and keeps its network.
        here.context.adopted.update(await here.context.runtime.containers())
        again = PodNetwork(worker)
        assert await again.set_up() and again.ip == worker.ip
        # One that finds no container makes a new network over the old.
        here.context.adopted.clear()
        anew = PodNetwork(worker)
        assert not await anew.set_up() and anew.ip not in ("", worker.ip)
        await anew.tear_down()
        assert not anew.ready
