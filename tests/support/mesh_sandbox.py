"""A sandbox with the mesh and bookinfo for the e2e stories: one at a time and process, brought up when first asked for.

    def test_something(mesh: Mesh) -> None:                      # the fixture is in tests/e2e/conftest.py
        mesh.apply_file("networking/virtual-service-all-v1.yaml")
        with mesh.load("/productpage", rps=50) as load:
            mesh.kubectl("rollout", "restart", "deployment/reviews-v1")
        assert load.statuses() == {200}

State lies in a directory of its own; nothing of another sandbox on the machine is read or touched.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mesh.cli import demo, describe
from mesh.cli.install import apply_all, documents
from mesh.cli.kube import Kube
from mesh.cli.load import Answer, Client
from mesh.cli.proxies import Proxy, admin, proxies, scrape
from mesh.cli.sandbox import Target, bring_up, take_down
from mesh.sandbox import linux, netns, supervisor
from mesh.sandbox.layout import NETNS_DIR, Layout, locate
from tests.support.sandbox import Cluster

ROOT = Path(__file__).resolve().parents[2]
BOOKINFO = ROOT / "samples" / "bookinfo"
PEERS = "/opt/triomesh/src/tests/support/e2e_peers.py"
NAMESPACE, SYSTEM = "default", "triomesh-system"
ROUTE_KINDS = (
    "virtualservices.networking.istio.io,destinationrules.networking.istio.io,gateways.networking.istio.io,"
    "serviceentries.networking.istio.io,gateways.gateway.networking.k8s.io,httproutes.gateway.networking.k8s.io"
)
POLL_SECONDS = 0.1
SYSTEMD = (".slice", ".scope", ".service", ".mount", ".socket")  # come and go with the host's own units
T = TypeVar("T")
Count = tuple[str, str, str, str, str]
Machine = Mapping[str, str | list[str]]


def lacking() -> str | None:
    """Why there can be no sandbox here, in one line; None when there can."""
    if (text := netns.missing_prerequisites()) is not None:
        return f"the sandbox {text}"
    return None if shutil.which("kubectl") else "kubectl is not installed"


def until(condition: Callable[[], T], what: str, seconds: float = 30.0) -> T:
    """Ask until the answer is true; returns it. For what has no event to wait for.

    Raises: AssertionError naming what did not happen, with the last answer.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}; it is {found!r}"
        pause.wait(POLL_SECONDS)
    return found


@dataclass(slots=True)
class Load:
    """Requests at a steady rate, sent whether earlier ones were answered or not. `answers` grow while it runs."""

    rps: float
    answers: list[Answer] = field(default_factory=list)

    def statuses(self) -> set[int]:
        return {answer.status for answer in self.answers}

    def failed(self) -> Counter[tuple[int, str]]:
        """Answers from 500 on, and requests without one (status 0), with the start of what came."""
        return Counter((answer.status, answer.body[:160]) for answer in self.answers if answer.status >= 500 or not answer.status)


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running sandbox with the mesh in it and bookinfo in namespace `default`."""

    layout: Layout
    kube: Kube
    gateway_url: str
    cluster: Cluster

    # -- commands

    def kubectl(self, *args: str, namespace: str | None = None, stdin: str | None = None, check: bool = True) -> str:
        """kubectl; returns stdout."""
        return self.cluster.kubectl(*args, namespace=namespace, stdin=stdin, check=check)

    def run_meshctl(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """meshctl as users call it; returns the whole result."""
        command = [sys.executable, "-m", "mesh.cli", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=self.environment(), cwd=ROOT)

    def meshctl(self, *args: str) -> str:
        """meshctl; returns stdout."""
        done = self.run_meshctl(*args)
        assert done.returncode == 0, f"meshctl {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def meshctl_json(self, *args: str) -> Any:
        return json.loads(self.meshctl(*args, "-o", "json"))

    def environment(self) -> dict[str, str]:
        """For programs that are to find this sandbox."""
        return os.environ | _variables(self.layout) | {"KUBECONFIG": str(self.layout.kubeconfig), "TRIOMESH_SANDBOX": self.layout.name}

    def peer(self, target: str, *args: object, namespace: str = NAMESPACE, container: str = "") -> Any:
        """Run one of tests/support/e2e_peers.py's clients in a pod; returns what it printed."""
        return json.loads(self.cluster.exec(target, ["python", PEERS, *map(str, args)], namespace, container))

    # -- objects

    def apply_file(self, *names: str) -> None:
        """Apply files of samples/bookinfo to namespace default, by server-side apply."""
        for name in names:
            apply_all(self.kube, documents(BOOKINFO / name), NAMESPACE)

    def delete_file(self, *names: str) -> None:
        """Delete the objects of files, those that exist."""
        for name in names:
            for item in documents(BOOKINFO / name):
                self.kube.delete(item["apiVersion"], item["kind"], item["metadata"]["name"], item["metadata"].get("namespace", NAMESPACE))

    def clear_routes(self) -> None:
        """Delete every route object of namespace default, and wait until gateway and sidecars have forgotten them."""
        if "deleted" not in self.kubectl("delete", ROUTE_KINDS, "--all", "--wait=false", namespace=NAMESPACE):
            return
        client = self.client(1)
        until(lambda: client.send("GET", demo.PAGE).status != 200, "the gateway forgets its routes")
        until(lambda: not self.made_from(f"VirtualService/{NAMESPACE}/", f"HTTPRoute/{NAMESPACE}/"), "productpage's sidecar forgets its routes")

    def made_from(self, *kinds: str, workload: str = "productpage-v1") -> list[str]:
        """Origins of these kinds in a sidecar's routes, e.g. `VirtualService/default/reviews http[0]`."""
        proxy = next(proxy for proxy in proxies(self.kube, NAMESPACE) if proxy.workload == workload and proxy.is_ready)
        dump = admin(self.kube, proxy, "/config_dump")
        routes = (route for config in describe.sections(dump, "routes") for host in config.get("virtual_hosts", []) for route in host.get("routes", []))
        return sorted({text for route in routes if (text := describe.origin_text(route)).startswith(kinds)})

    def await_pods(self, selector: str = "", namespace: str = NAMESPACE, seconds: float = 60.0) -> dict[str, str]:
        """Until every pod that is not going away is ready. Returns "ready/all" by pod."""
        shown: dict[str, str] = {}

        def ready(found: Mapping[str, Any]) -> bool:
            shown.clear()
            shown.update({name: demo.ready_text(pod) for name, pod in found.items() if "deletionTimestamp" not in pod["metadata"]})
            return bool(shown) and all(map(demo.all_ready, shown.values()))

        self.kube.until("v1", "Pod", namespace, ready, seconds, selector)
        return dict(shown)

    def pod(self, selector: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        """The one pod with these labels that is not going away."""
        found = [pod for pod in self.kube.list("v1", "Pod", namespace, selector) if "deletionTimestamp" not in pod["metadata"]]
        assert len(found) == 1, f"pods with {selector}: {[pod['metadata']['name'] for pod in found]}"
        return found[0]

    def await_weights(self, service: str, weights: list[int]) -> None:
        """Until productpage's sidecar has a route to `service` with these weights ([] = routes without weights)."""
        demo.await_weights(self.kube, "productpage", service, weights)

    def await_page(self) -> None:
        """Until the gateway serves the page."""
        demo.await_page(self.client())

    # -- traffic

    def client(self, connections: int = 8) -> Client:
        return Client(self.gateway_url, connections)

    @contextmanager
    def load(self, path: str = "/productpage", rps: float = 50.0, headers: Callable[[int], Mapping[str, str]] = lambda _number: {}) -> Iterator[Load]:
        """Steady requests through the gateway while the block runs; all are answered when it ends.

        Args: headers: of request number n.
        """
        load, client, stop = Load(rps), self.client(128), threading.Event()
        started = time.monotonic()

        def drive() -> None:
            sent: list[Future[Answer]] = []
            with ThreadPoolExecutor(128) as pool:
                while not stop.wait(max(0.0, started + len(sent) / rps - time.monotonic())):
                    sent.append(pool.submit(client.send, "GET", path, headers(len(sent))))
            load.answers.extend(future.result() for future in sent)

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            yield load
        finally:
            stop.set()
            thread.join()

    def metrics(self) -> dict[Proxy, str]:
        """The metrics text of every proxy."""
        return scrape(self.kube, proxies(self.kube))

    def answers(self) -> Counter[Count]:
        """Requests that the proxies counted: by reporter, source, destination service, response code and flags."""
        found: Counter[Count] = Counter()
        for text in self.metrics().values():
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name == "istio_requests_total":
                        label = sample.labels
                        key = (label["reporter"], label["source_workload"], label["destination_service_name"], label["response_code"], label["response_flags"])
                        found[key] += int(sample.value)
        return found

    # -- processes

    def processes(self, pod: Mapping[str, Any], needle: str) -> list[int]:
        """Process ids, on the host, of a pod's processes whose command line has `needle`."""
        inode = (NETNS_DIR / self.layout.pod_netns(pod["metadata"]["uid"])).stat().st_ino
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "ns/net").stat().st_ino == inode and needle in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
        return sorted(found)

    def daemon_pid(self, name: str) -> int:
        """Process id of one of the sandbox's daemons (0 while it is not running), or of its `supervisor`."""
        if name == "supervisor":
            return int(json.loads(self.layout.supervisor_file.read_text())["pid"])
        return next(daemon.pid for daemon in self.status().daemons if daemon.name == name)

    def status(self) -> supervisor.Status:
        with _environment(_variables(self.layout)):
            return supervisor.status(self.layout.name)

    def proxy_logs(self) -> dict[str, str]:
        """Standard output and error of every proxy and of the mesh's own pods."""
        found = {}
        for pod in self.kube.list("v1", "Pod", NAMESPACE) + self.kube.list("v1", "Pod", SYSTEM):
            meta = pod["metadata"]
            names = [item["name"] for item in pod["spec"]["containers"] if item["name"] == "triomesh-proxy" or meta["namespace"] == SYSTEM]
            for name in names:
                done = self.cluster.run("logs", meta["name"], "-c", name, namespace=meta["namespace"], check=False)
                found[f"{meta['namespace']}/{meta['name']}/{name}"] = done.stdout
        return found


def kill(pid: int) -> None:
    """SIGKILL a process of the test's own sandbox and wait until the kernel has taken it away."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        until(lambda: linux.start_time(pid) is None, f"process {pid} ends")
    finally:
        os.close(pidfd)


class Stage:
    """Owner of the one sandbox: up when a test asks for it, down at the end or when a test is about that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mesh: Mesh | None = None
        self._directory: Path | None = None
        self._failure: Exception | None = None
        self.before: Machine = {}

    def up(self) -> Mesh:
        """The mesh, brought up unless it is. What failed once is not tried again."""
        if self._failure is not None:
            raise self._failure
        if self.mesh is None:
            try:
                self.mesh = self._bring_up()
            except Exception as exc:
                self._failure = exc
                raise
        return self.mesh

    def _bring_up(self) -> Mesh:
        self.before = machine()
        self._directory = Path(tempfile.mkdtemp(prefix="tm-e2e-"))
        with self.environment():
            running = bring_up(self.name, to=self.api_server())
            layout = locate(self.name)
        mesh = Mesh(layout, running.kube, running.gateway_url, Cluster(self.name, layout.root, layout.kubeconfig))
        running.kube.merge("v1", "Namespace", NAMESPACE, {"metadata": {"labels": {"triomesh-injection": "enabled"}}})
        mesh.apply_file("platform/kube/bookinfo.yaml")
        demo.ready_pods(running.kube)
        return mesh

    def api_server(self) -> Target | None:
        """The API server to use; None = the sandbox's own."""
        return None

    def restart_api_server(self) -> None:
        """SIGKILL it; returns when it has been started again."""
        mesh = self.up()
        old = mesh.daemon_pid("apiserver")
        kill(old)
        until(lambda: mesh.daemon_pid("apiserver") not in (0, old), "the supervisor starts it again")

    def down(self) -> None:
        """Remove it, if it is up."""
        if self._directory is not None:
            with self.environment():
                take_down(self.name)
            shutil.rmtree(self._directory)
        self.mesh = self._directory = None

    @contextmanager
    def environment(self) -> Iterator[None]:
        """What code of the sandbox in this process needs in order to find it."""
        assert self._directory is not None
        with _environment({"TRIOMESH_STATE": str(self._directory / "s")}):
            yield


def differences(before: Machine, after: Machine) -> dict[str, object]:
    """What `machine` shows after and did not before, and the other way round."""
    found: dict[str, object] = {}
    for key in before:
        old, new = (Counter[str](lines.splitlines() if isinstance(lines, str) else lines) for lines in (before[key], after[key]))
        if old != new:
            found[key] = {"new": sorted((new - old).elements()), "gone": sorted((old - new).elements())}
    return found


def machine() -> Machine:
    """What a sandbox could leave behind on the host. Namespaces and mounts of other sandboxes are not looked at."""
    worker = own_name()
    return {
        "ip netns": sorted(line for line in _output("ip", "netns").splitlines() if line.startswith(f"tm-{worker}-")),
        "ip link": [line.split("@")[0].split(": ")[1] for line in _output("ip", "-o", "link", "show").splitlines()],
        "iptables-save": _rules(_output("iptables-save")),
        "ip6tables-save": _rules(_output("ip6tables-save")),
        "nft list ruleset": _output("nft", "list", "ruleset") if shutil.which("nft") else "",
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if not _is_others(line.split()[4])),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir() and path.suffix not in SYSTEMD),
        "processes": sorted(_own_processes()),
    }


def own_name() -> str:
    """Name of this process's sandbox: one per pytest worker."""
    return f"e{os.getpid()}{os.environ.get('PYTEST_XDIST_WORKER', '')}"


def skip_without_root() -> None:
    """Skip the test, with the reason, where there can be no sandbox."""
    if (text := lacking()) is not None:
        pytest.skip(text)


def _own_processes() -> Iterator[str]:
    mark = f"/{own_name()}".encode()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid() and b"tm-e2e-" in (text := (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()) and mark in text:
                yield f"{entry.name} {(entry / 'comm').read_text().strip()}"
        except OSError:
            continue  # it ended meanwhile


def _is_others(target: str) -> bool:
    is_sandboxs = target.startswith("/run/netns/tm-") or re.search("/pods/[0-9a-f-]{36}/", target) is not None
    return is_sandboxs and own_name() not in target


def _rules(text: str) -> list[str]:
    return [line.partition(" [")[0] for line in text.splitlines() if not line.startswith("#")]


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _variables(layout: Layout) -> dict[str, str]:
    return {"TRIOMESH_STATE": str(layout.root.parent)}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def unwanted(counted: Mapping[Count, int], injected: Iterable[tuple[str, str]] = ()) -> dict[Count, int]:
    """Counts of answers from 500 on or of none (code 0), but for (code, flags) that the test asked for."""
    allowed = set(injected)
    return {key: count for key, count in counted.items() if (key[3].startswith("5") or key[3] == "0") and (key[3], key[4]) not in allowed}
