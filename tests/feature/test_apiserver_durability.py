"""SIGKILL: whatever was acknowledged is there afterwards, and nothing is half there."""

from __future__ import annotations

import threading
from pathlib import Path

import urllib3

from tests.support.apiserver import call, running

CM = "/api/v1/namespaces/default/configmaps"
WRITERS = 8
KILL_AFTER = 150


def test_killed_server_keeps_every_acknowledged_write(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server:
        acknowledged: dict[str, str] = {}
        enough = threading.Event()

        def write(writer: int) -> None:
            with server.api() as api:
                for number in range(10_000):
                    name = f"w{writer}-{number}"
                    try:
                        code, made, _ = call(api, "POST", CM, {"metadata": {"name": name}, "data": {"n": str(number)}})
                    except (urllib3.exceptions.HTTPError, OSError):
                        return  # the server is dead
                    assert code == 201, made
                    acknowledged[name] = made["metadata"]["resourceVersion"]
                    if len(acknowledged) >= KILL_AFTER:
                        enough.set()

        threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        assert enough.wait(30)
        server.kill()
        for thread in threads:
            thread.join(30)
        server.start()
        with server.api() as api:
            _, found, _ = call(api, "GET", CM)
            present = {item["metadata"]["name"]: item for item in found["items"]}
            assert {name: present[name]["metadata"]["resourceVersion"] for name in acknowledged} == acknowledged
            # At most one write per writer was on its way without an answer.
            assert len(present) - len(acknowledged) <= WRITERS
            assert len({item["metadata"]["resourceVersion"] for item in found["items"]}) == len(found["items"])
            _, later, _ = call(api, "POST", CM, {"metadata": {"name": "later"}})
            assert int(later["metadata"]["resourceVersion"]) > max(map(int, acknowledged.values()))


def test_certificates_and_tokens_survive_a_restart(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server:
        with server.api() as api:
            _, made, _ = call(api, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
        ca = (server.state / "pki" / "ca.crt").read_bytes()
        server.kill()
        server.start()
        assert (server.state / "pki" / "ca.crt").read_bytes() == ca
        with server.api(made["status"]["token"]) as api:
            _, who, _ = call(api, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
            assert who["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"
