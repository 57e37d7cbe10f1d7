"""The sandbox as its users see it: real kubectl, real namespaces, real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mesh.sandbox import forwardclient, linux, supervisor
from tests.support import sandbox as support
from tests.support.sandbox import Cluster, start_sandbox

sandbox = support.sandbox  # the fixture: pytest finds it by this name
pytestmark = [pytest.mark.root, pytest.mark.e2e]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: python:3.11
        command: [python, -m, http.server, "8000"]
        ports: [{name: http, containerPort: 8000}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
"""
CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}, annotations: {note: "a b"}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: curlimages/curl
    command: [sleep, infinity]
    env:
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: BOTH, value: "$(APP)-$(IP)-$$(APP)"}
"""


def test_a_deployment_is_reached_by_its_service_name(sandbox: Cluster) -> None:
    with sandbox.namespace() as ns:
        sandbox.apply(WEB + "---" + CLIENT, ns)
        sandbox.wait("deployment/web", "Available", ns)
        sandbox.wait("pod/client", "Ready", ns)
        assert "Directory listing" in sandbox.exec("client", ["curl", "-sS", "-m", "5", "http://web"], ns)
        ip = sandbox.get("pod", ns, "client")["status"]["podIP"]
        shown = sandbox.exec("client", ["sh", "-c", "echo $BOTH; id -u; cat /etc/hostname"], ns).splitlines()
        assert shown == [f"client-{ip}-$(APP)", "100", "client"]
        assert '"GET / HTTP/1.1" 200' in sandbox.kubectl("logs", "-l", "app=web", namespace=ns)


def test_exec_carries_stdin_and_exit_code(sandbox: Cluster) -> None:
    with sandbox.namespace() as ns:
        sandbox.apply(CLIENT, ns)
        sandbox.wait("pod/client", "Ready", ns)
        data = "x" * 300_000 + "\n"
        assert sandbox.kubectl("exec", "-i", "client", "--", "cat", namespace=ns, stdin=data) == data
        assert sandbox.run("exec", "client", "--", "sh", "-c", "exit 7", namespace=ns, check=False).returncode == 7


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_port_forward_reaches_a_pod(sandbox: Cluster, websockets: str) -> None:
    with sandbox.namespace() as ns:
        sandbox.apply(WEB, ns)
        sandbox.wait("deployment/web", "Available", ns)
        command = ["kubectl", "--kubeconfig", str(sandbox.kubeconfig), "-n", ns, "port-forward", "svc/web", ":80"]
        env = {**os.environ, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as forward:
            assert forward.stdout is not None
            port = int(forward.stdout.readline().split(" -> ")[0].rpartition(":")[2])
            try:
                for _ in range(3):
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                        assert answer.status == 200
            finally:
                forward.terminate()


def test_a_load_balancer_is_reached_from_the_host(sandbox: Cluster) -> None:
    with sandbox.namespace() as ns:
        sandbox.apply(WEB, ns)
        sandbox.wait("deployment/web", "Available", ns)
        address = forwardclient.wait_forward(sandbox.name, f"{ns}/web", 80)
        with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
            assert answer.status == 200
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=5) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)  # a half-closed client still gets its whole answer
            whole = b""
            while chunk := sock.recv(65536):
                whole += chunk
        assert whole.startswith(b"HTTP/1.0 200") and whole.endswith(b"</html>\n")


def test_init_containers_sidecars_and_hooks_keep_their_order(sandbox: Cluster) -> None:
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: order}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  volumes: [{name: log, emptyDir: {}}]
  initContainers:
  - {name: first, image: busybox, command: [sh, -c, "echo first >>/log/l"], volumeMounts: [{name: log, mountPath: /log}]}
  - name: side
    image: busybox
    restartPolicy: Always
    command: [sh, -c, "trap 'echo side-stopped >>/log/l; exit 0' TERM; echo side >>/log/l; touch /log/up; while :; do sleep 0.05; done"]
    startupProbe: {exec: {command: [test, -e, /log/up]}, periodSeconds: 1}
    volumeMounts: [{name: log, mountPath: /log}]
  containers:
  - name: a
    image: busybox
    command: [sh, -c, "echo a >>/log/l; until test -e /log/b; do sleep 0.05; done; echo a-ends >>/log/l"]
    lifecycle: {postStart: {exec: {command: [sh, -c, "sleep 0.3; echo a-hook >>/log/l"]}}}
    volumeMounts: [{name: log, mountPath: /log}]
  - {name: b, image: busybox, command: [sh, -c, "echo b >>/log/l; touch /log/b; until grep -q a-ends /log/l; do sleep 0.05; done; cat /log/l"], volumeMounts: [{name: log, mountPath: /log}]}
"""
    with sandbox.namespace() as ns:
        sandbox.apply(manifest, ns)
        sandbox.kubectl("wait", "pod/order", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=20s", namespace=ns)
        assert sandbox.kubectl("logs", "order", "-c", "b", namespace=ns).split() == ["first", "side", "a", "a-hook", "b", "a-ends"]
        pod = sandbox.get("pod", ns, "order")
        side = next(s for s in pod["status"]["initContainerStatuses"] if s["name"] == "side")
        assert side["state"]["terminated"]["exitCode"] == 0


def test_a_crashing_container_is_restarted_and_its_last_log_kept(sandbox: Cluster) -> None:
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec:
  containers: [{name: c, image: busybox, command: [sh, -c, "echo run; exit 3"]}]
"""
    with sandbox.namespace() as ns:
        sandbox.apply(manifest, ns)
        path = "{.status.containerStatuses[0].state.waiting.reason}"
        sandbox.kubectl("wait", "pod/crash", f"--for=jsonpath={path}=CrashLoopBackOff", "--timeout=20s", namespace=ns)
        status = sandbox.get("pod", ns, "crash")["status"]["containerStatuses"][0]
        assert status["restartCount"] >= 1
        assert status["lastState"]["terminated"]["exitCode"] == 3
        assert sandbox.kubectl("logs", "crash", "--previous", namespace=ns) == "run\n"
        assert "Back-off restarting" in sandbox.kubectl("get", "events", namespace=ns)


def test_an_unknown_image_says_what_to_do(sandbox: Cluster) -> None:
    with sandbox.namespace() as ns:
        sandbox.kubectl("run", "x", "--image=example.invalid/none:1", namespace=ns)
        path = "{.status.containerStatuses[0].state.waiting.reason}"
        sandbox.kubectl("wait", "pod/x", f"--for=jsonpath={path}=ImagePullBackOff", "--timeout=20s", namespace=ns)
        message = sandbox.get("pod", ns, "x")["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
        assert "images.yaml" in message


def test_volumes_follow_their_config_map(sandbox: Cluster) -> None:
    manifest = """
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {key: one}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: v, configMap: {name: cm}}]
  containers:
  - name: c
    image: busybox
    securityContext: {runAsUser: 1337}
    command: [sh, -c, "until grep -q two /v/key; do sleep 0.05; done; echo changed; touch /v/x || echo read-only; test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token"]
    volumeMounts: [{name: v, mountPath: /v}]
  restartPolicy: Never
"""
    with sandbox.namespace() as ns:
        sandbox.apply(manifest, ns)
        path = "{.status.phase}"
        sandbox.kubectl("wait", "pod/p", f"--for=jsonpath={path}=Running", "--timeout=20s", namespace=ns)
        sandbox.kubectl("patch", "configmap", "cm", "-p", '{"data": {"key": "two"}}', namespace=ns)
        sandbox.kubectl("wait", "pod/p", f"--for=jsonpath={path}=Succeeded", "--timeout=20s", namespace=ns)
        lines = sandbox.kubectl("logs", "p", namespace=ns).splitlines()
        assert [line for line in lines if not line.startswith("touch")] == ["changed", "read-only", "token"]


def test_a_rolling_update_keeps_the_service_answering(sandbox: Cluster) -> None:
    with sandbox.namespace() as ns:
        sandbox.apply(WEB + "---" + CLIENT, ns)
        sandbox.wait("deployment/web", "Available", ns)
        sandbox.wait("pod/client", "Ready", ns)
        sandbox.kubectl("rollout", "restart", "deployment/web", namespace=ns)
        sandbox.kubectl("rollout", "status", "deployment/web", "--timeout=30s", namespace=ns)
        sandbox.kubectl("rollout", "undo", "deployment/web", namespace=ns)
        sandbox.kubectl("rollout", "status", "deployment/web", "--timeout=30s", namespace=ns)
        assert "Directory listing" in sandbox.exec("client", ["curl", "-sS", "-m", "5", "http://web"], ns)
        names = {rs["metadata"]["name"]: rs["spec"]["replicas"] for rs in sandbox.get("rs", ns)["items"]}
        assert sorted(names.values()) == [0, 2]


def test_deleting_a_namespace_removes_its_contents(sandbox: Cluster) -> None:
    with sandbox.namespace() as ns:
        sandbox.apply(WEB, ns)
        sandbox.wait("deployment/web", "Available", ns)
        sandbox.kubectl("delete", "namespace", ns, "--timeout=30s")
        assert sandbox.run("get", "namespace", ns, check=False).returncode == 1
        sandbox.kubectl("create", "namespace", ns)


def test_down_leaves_the_machine_as_it_was() -> None:
    before = _machine()
    with start_sandbox() as cluster:
        cluster.apply(WEB)
        cluster.wait("deployment/web", "Available")
        assert _traces(cluster)
    assert _machine() == before
    assert _traces(cluster) == []


@pytest.mark.parametrize("victims", [["supervisor"], ["apiserver"], ["node", "controllers"], ["runtime"]])
def test_down_cleans_up_after_sigkill(victims: list[str]) -> None:
    before = _machine()
    with start_sandbox() as cluster:
        cluster.apply(WEB)
        cluster.wait("deployment/web", "Available")
        for victim in victims:
            _kill(cluster, victim)
    assert _machine() == before
    assert _traces(cluster) == []


def test_a_killed_api_server_comes_back_with_its_data_at_its_address() -> None:
    with start_sandbox() as cluster:
        cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        _kill(cluster, "apiserver")
        # The supervisor keeps the listening socket: the next request waits in its backlog instead of failing.
        assert cluster.get("configmap", name="kept")["data"] == {"a": "b"}


def test_a_killed_node_agent_finds_its_containers_again() -> None:
    with start_sandbox() as cluster:
        cluster.apply(CLIENT)
        cluster.wait("pod/client", "Ready")
        before = cluster.exec("client", ["cat", "/proc/1/stat"]).split()[21]
        _kill(cluster, "node")
        deadline = time.monotonic() + 20
        while (run := cluster.run("exec", "client", "--", "cat", "/proc/1/stat", check=False)).returncode:
            assert time.monotonic() < deadline, run.stderr
        assert run.stdout.split()[21] == before
        assert cluster.get("pod", name="client")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_crashed_sandbox_is_taken_up_again() -> None:
    with start_sandbox() as cluster:
        cluster.apply(WEB)
        cluster.wait("deployment/web", "Available")
        _kill(cluster, "supervisor")
        assert supervisor.status(cluster.name).state == "crashed"
        supervisor.up(cluster.name)
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
        assert supervisor.status(cluster.name).state == "up"


def test_two_sandboxes_do_not_see_each_other(sandbox: Cluster) -> None:
    with start_sandbox() as other:
        other.kubectl("create", "namespace", "only-here")
        assert sandbox.run("get", "namespace", "only-here", check=False).returncode == 1
    assert sandbox.get("namespace", name="default")["status"]["phase"] == "Active"


def _kill(cluster: Cluster, victim: str) -> None:
    """SIGKILL one part and wait until the kernel has taken it away."""
    record = json.loads((cluster.state / "supervisor.json").read_text())
    pid = record["pid"] if victim == "supervisor" else next(d["pid"] for d in record["daemons"] if d["name"] == victim)
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        while linux.start_time(pid) is not None:
            os.sched_yield()
    finally:
        os.close(pidfd)


def _machine() -> dict[str, object]:
    """What of the host must be as before. Other sandboxes on this machine come and go: their parts are left out."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "links": _output("ip", "-o", "link", "show").count("\n"),
        "iptables": [line for line in _output("iptables-save").splitlines() if not line.startswith(("#", ":"))],
        "nft": _output("nft", "list", "ruleset"),
        "mounts": sorted(target for target in mounts if "/pods/" not in target and "/run/netns/" not in target),
        "cgroups": Path("/proc/self/cgroup").read_text(),
    }


def _traces(cluster: Cluster) -> list[str]:
    """Whatever still names the sandbox: network namespaces, mounts, processes, files."""
    state, mark = str(cluster.state), f"tm-{cluster.name}-"
    found = [name for name in os.listdir("/run/netns") if name.startswith(mark)] if Path("/run/netns").is_dir() else []
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if mark in line or state in line]
    found += [state] if cluster.state.exists() else []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if state.encode() in (process / "environ").read_bytes() + (process / "cmdline").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it has ended meanwhile
    return found


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_python_client_executes_and_forwards(sandbox: Cluster) -> None:
    """Plain v4.channel.k8s.io WebSockets, which kubectl does not use any more."""
    script = """
import sys
from kubernetes import client, config
from kubernetes.stream import portforward, stream
config.load_kube_config(sys.argv[1])
api, namespace = client.CoreV1Api(), sys.argv[2]
name = api.list_namespaced_pod(namespace).items[0].metadata.name
print(stream(api.connect_get_namespaced_pod_exec, name, namespace, command=["echo", "hi"], stdout=True, stderr=True, stdin=False, tty=False).strip())
sock = portforward(api.connect_get_namespaced_pod_portforward, name, namespace, ports="8000").socket(8000)
sock.setblocking(True)
sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
answer = b""
while chunk := sock.recv(65536):
    answer += chunk
print(answer.split(b"\\r\\n")[0].decode())
"""
    with sandbox.namespace() as ns:
        sandbox.apply(WEB, ns)
        sandbox.wait("deployment/web", "Available", ns)
        command = [sys.executable, "-W", "ignore", "-c", script, str(sandbox.kubeconfig), ns]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == ["hi", "HTTP/1.0 200 OK"]
