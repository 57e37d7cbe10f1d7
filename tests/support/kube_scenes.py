"""Scenes: small stories whose outcome must be the same on our API server and on a real kube-apiserver.

Where tests/support/apiserver_contract.py compares answers to single requests, a scene may watch, page, run a webhook; what it returns is compared
whole. `play(session)` returns outcomes by name; `python -m tests.support.kube_scenes FILE` records those of the real server.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubernetes import client

from tests.support.apiserver_contract import APPLY, JSON, MERGE, PATCH, client_of
from tests.support.apiserver_peers import Webhook

Json = dict[str, Any]
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
WATCH_SECONDS = 10.0
HISTORY = 150  # changes that our server is told to remember: watches from before them are to end with 410
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}")
Scene = Callable[["Session"], Any]
SCENES: dict[str, Scene] = {}


def scene(function: Scene) -> Scene:
    """Enter a scene under its name in words."""
    SCENES[function.__name__.replace("_", " ")] = function
    return function


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `body` is JSON or text."""

    code: int
    body: Any
    headers: dict[str, str]

    def outcome(self) -> list[Any]:
        """Code, and of an error also reason and message."""
        if self.code < 400 or not isinstance(self.body, dict):
            return [self.code]
        return [self.code, self.body.get("reason", ""), UID.sub("<uid>", self.body.get("message", ""))]

    def causes(self) -> list[list[str]]:
        """What is wrong where, in the server's order."""
        return [[cause["reason"], cause.get("field", ""), cause["message"]] for cause in (self.body.get("details") or {}).get("causes", ())]


@dataclass(slots=True)
class Session:
    """A server under test. Each scene has a namespace of its own, with a ServiceAccount `default`."""

    api: client.ApiClient
    hook: Webhook
    namespace: str = "default"
    made: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None, kind: str = JSON, accept: str = JSON, **query: Any) -> Answer:
        """One request. `path` without a leading slash is a plural of core/v1 in the scene's namespace."""
        headers = {"Accept": accept, "Content-Type": kind}
        answer = self.api.rest_client.pool_manager.request(method, self.url(path, query), body=_encoded(body), headers=headers, retries=False)
        text = answer.data.decode()
        with contextlib.suppress(ValueError):
            return Answer(answer.status, json.loads(text), _lower(answer.headers))
        return Answer(answer.status, text, _lower(answer.headers))

    def good(self, method: str, path: str, body: Any = None, kind: str = JSON, **query: Any) -> Json:
        """A request that must succeed; its body."""
        answer = self.call(method, path, body, kind, **query)
        assert answer.code < 300, (method, path, answer.body)
        return dict(answer.body)

    def watch(self, path: str, count: int, accept: str = JSON, **query: Any) -> list[Json]:
        """The first `count` events of a watch; fewer when it ends."""
        found: list[Json] = []
        query = {"watch": "true", "timeoutSeconds": int(WATCH_SECONDS), **query}
        answer = self.api.rest_client.pool_manager.request(
            "GET", self.url(path, query), headers={"Accept": accept}, retries=False, preload_content=False, timeout=WATCH_SECONDS + 5
        )
        buffer = b""
        try:
            for chunk in answer.stream(65536):
                *lines, buffer = (buffer + chunk).split(b"\n")
                found += [json.loads(line) for line in lines if line.strip()]
                if len(found) >= count:
                    break
            if answer.status != 200:
                return [json.loads(buffer)]
        finally:
            answer.close()
        return found[:count]

    def url(self, path: str, query: Json | None = None) -> str:
        full = path if path.startswith("/") else f"/api/v1/namespaces/{self.namespace}/{path}"
        return self.api.configuration.host + full + (f"?{urlencode(query, doseq=True)}" if query else "")

    def apps(self, path: str) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/{path}"

    def established(self, crd: Json) -> str:
        """Create a CRD and wait until its objects can be made; their collection in the scene's namespace."""
        self.good("POST", CRDS, crd)
        spec = crd["spec"]
        path = f"/apis/{spec['group']}/v1/namespaces/{self.namespace}/{spec['names']['plural']}"
        deadline = time.monotonic() + 20
        while self.call("GET", path).code != 200 or self.call("POST", path, {"metadata": {"name": "probe"}, **crd_probe(crd)}, dryRun="All").code not in (201, 422):
            assert time.monotonic() < deadline, "the CRD is not served"
            time.sleep(0.05)
        return path


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def crd_probe(crd: Json) -> Json:
    return {"apiVersion": f"{crd['spec']['group']}/v1", "kind": crd["spec"]["names"]["kind"]}


def crd(plural: str, kind: str, spec: Json, **version: Any) -> Json:
    """A namespaced CRD of one version; `spec` is the schema of the field of that name."""
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}]
    group = "scenes.example.com"
    return {"metadata": {"name": f"{plural}.{group}"}, "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": versions}}


def config(name: str, **more: Any) -> Json:
    return {"metadata": {"name": name, **more}, "data": {"k": "v"}}


def pod(name: str, labels: Json | None = None, **spec: Any) -> Json:
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"containers": [{"name": "a", "image": "i:1"}], **spec}}


def deployment(name: str, **spec: Any) -> Json:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "i:1", "ports": [{"containerPort": 80}]}]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}


def play(session: Session, names: list[str] | None = None) -> Json:
    """Outcomes by scene, as JSON has them (tuples become lists)."""
    from tests.support import kube_scenes_admission, kube_scenes_kinds, kube_scenes_reading, kube_scenes_writing

    del kube_scenes_admission, kube_scenes_kinds, kube_scenes_reading, kube_scenes_writing  # they have entered their scenes
    found = {}
    for number, (name, function) in enumerate(sorted(SCENES.items())):
        if names is not None and name not in names:
            continue
        session.namespace = f"scene-{number}"
        session.good("POST", "/api/v1/namespaces", {"metadata": {"name": session.namespace, "labels": {"scene": str(number)}}})
        session.good("POST", "serviceaccounts", {"metadata": {"name": "default"}})
        outcome = function(session)
        found[name] = json.loads(json.dumps(outcome).replace(session.namespace, "<namespace>"))
    return found


@contextlib.contextmanager
def session(kubeconfig: Path, directory: Path) -> Iterator[Session]:
    """A session on the server of a kubeconfig, with a webhook at https://127.0.0.1."""
    with client_of(kubeconfig) as api, Webhook(directory / "hook", "127.0.0.1").running() as hook:
        yield Session(api, hook)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _encoded(body: Any) -> str | bytes | None:
    return body if isinstance(body, str | bytes) or body is None else json.dumps(body)


def claims(token: str) -> Json:
    """The payload of a JWT."""
    payload = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


def main() -> None:
    """Record the real server's outcomes."""
    from tests.support.kube_server import binaries, real_kube

    with tempfile.TemporaryDirectory() as directory, real_kube(Path(directory), binaries()) as server, session(server.kubeconfig, Path(directory)) as made:
        Path(sys.argv[1]).write_text(json.dumps(play(made), indent=1, sort_keys=True) + "\n")


__all__ = ["APPLY", "JSON", "MERGE", "PATCH", "SCENES", "Session", "play", "scene", "session"]

if __name__ == "__main__":
    from tests.support import kube_scenes  # the scenes enter themselves in the module of that name

    kube_scenes.main()
