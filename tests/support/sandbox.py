"""A real sandbox for tests, and kubectl on it. Needs root.

In a test module or a conftest.py:

    from tests.support import sandbox as support
    from tests.support.sandbox import Cluster

    sandbox = support.sandbox                                    # the fixture: one sandbox per test session (and xdist worker)
    pytestmark = [pytest.mark.root, pytest.mark.e2e]

    def test_something(sandbox: Cluster) -> None:
        with sandbox.namespace() as ns:                          # a fresh namespace, deleted at the end
            sandbox.apply(MANIFEST, ns)                          # kubectl apply -f -
            sandbox.wait("deployment/web", "Available", ns)      # kubectl wait --for=condition=…
            out = sandbox.exec("deploy/client", ["curl", "-sS", "http://web"], ns)
            pods = sandbox.get("pods", ns)["items"]              # kubectl get -o json

`sandbox.kubectl(*args)` runs anything else and returns its stdout; a failing command raises with its stderr.
`start_sandbox(name)` is a context manager for tests that need one of their own. Without root or netfilter the tests are skipped with the reason.
State lies in a short temporary directory (TRIOMESH_STATE), so the machine's own sandboxes are never touched.
"""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox import netns, supervisor

TIMEOUT_SECONDS = 60


class KubectlError(AssertionError):
    """kubectl failed; the message has its command and its words."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running sandbox."""

    name: str
    state: Path
    kubeconfig: Path

    def kubectl(self, *args: str, namespace: str | None = None, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl; returns stdout."""
        return self.run(*args, namespace=namespace, stdin=stdin, check=check).stdout

    def run(self, *args: str, namespace: str | None = None, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl; returns the whole result."""
        place = ("-n", namespace) if namespace else ()
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *place, *args]
        source: dict[str, Any] = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, **source)
        if check and done.returncode:
            raise KubectlError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def apply(self, manifest: str, namespace: str | None = None) -> None:
        """kubectl apply -f -"""
        self.kubectl("apply", "-f", "-", namespace=namespace, stdin=manifest)

    def wait(self, target: str, condition: str, namespace: str | None = None, seconds: int = 30) -> None:
        """kubectl wait --for=condition=…"""
        self.kubectl("wait", target, f"--for=condition={condition}", f"--timeout={seconds}s", namespace=namespace)

    def get(self, kind: str, namespace: str | None = None, name: str = "") -> dict[str, Any]:
        """kubectl get -o json"""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, *([name] if name else []), "-o", "json", namespace=namespace))
        return found

    def exec(self, target: str, command: list[str], namespace: str | None = None, container: str = "") -> str:
        """kubectl exec; returns stdout."""
        pick = ("-c", container) if container else ()
        return self.kubectl("exec", target, *pick, "--", *command, namespace=namespace)

    @contextmanager
    def namespace(self, **labels: str) -> Iterator[str]:
        """A namespace of its own; deleted (without waiting) at the end."""
        name = f"t-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        # As in any cluster, pods are refused until the controller has made the default service account.
        self.kubectl("wait", "serviceaccount/default", "--for=create", "--timeout=20s", namespace=name)
        if labels:
            self.kubectl("label", "namespace", name, *(f"{key}={value}" for key, value in labels.items()))
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def start_sandbox(name: str | None = None) -> Iterator[Cluster]:
    """A sandbox of its own. Skips the test when this machine cannot have one."""
    if (lacking := netns.missing_prerequisites()) is not None:
        pytest.skip(f"the sandbox {lacking}")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    name = name or f"t{secrets.token_hex(4)}"
    before = os.environ.get("TRIOMESH_STATE")
    directory = tempfile.mkdtemp(prefix="tm-")
    os.environ["TRIOMESH_STATE"] = f"{directory}/s"
    try:
        made = supervisor.up(name)
        yield Cluster(name, made.state, made.kubeconfig)
    finally:
        supervisor.down(name)
        if before is None:
            del os.environ["TRIOMESH_STATE"]
        else:
            os.environ["TRIOMESH_STATE"] = before
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Cluster]:
    """One sandbox for the whole session."""
    with start_sandbox() as cluster:
        yield cluster
