from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from mesh.model.match import RouteMatch
from mesh.model.route import DirectResponse, Route
from mesh.model.secret import Secret
from mesh.proxy.admin import Admin, Controls
from mesh.proxy.local_http import Answer, Request
from mesh.proxy.pipeline import Proxy
from mesh.proxy.snapshots import OwnSecrets
from tests.support.observe import head
from tests.support.proxy import cluster, forward, listener, manager, routes, running, snapshot
from tests.support.proxy_tls import Authority

CONFIG = snapshot(listener(manager(routes(forward("c"), Route(RouteMatch(), DirectResponse(200))))), cluster("c", 1, 2), cluster("d", 3))


class Bench:
    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.is_ready = True
        self.calls: list[str] = []
        controls = Controls(lambda: self.is_ready, lambda: self.calls.append("quit"), lambda: self.calls.append("drain"))
        self.admin = Admin(
            proxy, controls, node_id="sidecar~1~a~b", metadata={"NAME": "a"}, version="0.1.0", now=lambda: 1_000.0
        )

    async def ask(self, method: str, path: str, **query: str) -> Answer:
        return await self.admin.handle(Request(method, path, query, head(method, path, "h"), b"", "127.0.0.1"))

    async def json(self, path: str, **query: str) -> Any:
        answer = await self.ask("GET", path, **query)
        assert (answer.status, answer.content_type) == (200, "application/json")
        return json.loads(answer.body)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running(CONFIG) as proxy:
        yield Bench(proxy)


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    before = logging.getLogger().level, logging.getLogger("mesh.proxy.admin").level
    yield
    logging.getLogger().setLevel(before[0])
    logging.getLogger("mesh.proxy.admin").setLevel(before[1])


async def test_the_config_dump_has_envoys_shape(bench: Bench) -> None:
    dump = await bench.json("/config_dump")
    kinds = [part["@type"].removeprefix("type.googleapis.com/envoy.admin.v3.") for part in dump["configs"]]
    assert {"ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump"} <= set(kinds)
    assert "EndpointsConfigDump" not in kinds
    assert "EndpointsConfigDump" in str(await bench.json("/config_dump", include_eds=""))


async def test_one_kind_of_resource_can_be_asked_for(bench: Bench) -> None:
    dump = await bench.json("/config_dump", resource="dynamic_active_clusters")
    assert sorted(entry["cluster"]["name"] for entry in dump["configs"]) == ["c", "d"]
    named = await bench.json("/config_dump", resource="dynamic_active_clusters", name_regex="^d$")
    assert [entry["cluster"]["name"] for entry in named["configs"]] == ["d"]


async def test_bad_questions_about_the_configuration(bench: Bench) -> None:
    assert (await bench.ask("GET", "/config_dump", mask="x")).status == 400
    assert (await bench.ask("GET", "/config_dump", name_regex="(")).status == 400
    assert (await bench.ask("GET", "/config_dump", resource="nope")).status == 404


async def test_clusters_and_listeners(bench: Bench) -> None:
    assert b"c::127.0.0.1:1::weight::1\n" in (await bench.ask("GET", "/clusters")).body
    assert len((await bench.json("/clusters", format="json"))["cluster_statuses"]) == 2
    assert (await bench.ask("GET", "/listeners")).body == b"test::127.0.0.1:0\n"
    assert (await bench.json("/listeners", format="json"))["listener_statuses"][0]["name"] == "test"
    assert await bench.json("/certs") == {"certificates": []}


async def test_the_proxys_own_certificate_is_shown_without_its_key(bench: Bench) -> None:
    certificate = Authority().issue("spiffe://a/ns/b/sa/c")
    bench.proxy.adopt(OwnSecrets({"default": Secret("default", certificate=certificate)}))
    (shown,) = (await bench.json("/certs"))["certificates"]
    assert shown["cert_chain"][0]["path"] == "<inline: default>"
    dump = (await bench.json("/config_dump", resource="dynamic_active_secrets"))["configs"]
    assert [entry["name"] for entry in dump] == ["default"]
    assert "PRIVATE" not in str(dump) and b64encode(certificate.key_pem).decode() not in str(dump)


async def test_stats(bench: Bench) -> None:
    assert b'triomesh_build_info{version="test"}: 1\n' in (await bench.ask("GET", "/stats")).body
    assert (await bench.ask("GET", "/stats", filter="build")).body == b'triomesh_build_info{version="test"}: 1\n'
    assert (await bench.ask("GET", "/stats", filter="(")).status == 400
    stats = (await bench.json("/stats", format="json"))["stats"]
    assert {"name": 'triomesh_build_info{version="test"}', "value": 1} in stats
    for path, query in (("/stats/prometheus", {}), ("/stats", {"format": "prometheus"})):
        assert (await bench.ask("GET", path, **query)).body.startswith(b"# HELP ")


async def test_clusters_in_use_have_metrics(bench: Bench) -> None:
    bench.proxy.current.clusters["c"].is_used = True
    body = (await bench.ask("GET", "/stats/prometheus")).body
    assert b'envoy_cluster_membership_healthy{cluster_name="c"} 2\n' in body
    assert b'cluster_name="d"' not in body


async def test_server_info(bench: Bench) -> None:
    info = await bench.json("/server_info")
    assert (info["state"], info["node"]["id"], info["snapshots_applied"]) == ("LIVE", "sidecar~1~a~b", 1)
    assert (info["version"], info["uptime_current_epoch"]) == ("triomesh/0.1.0", "0s")


async def test_states(bench: Bench) -> None:
    async def ready() -> tuple[int, bytes]:
        answer = await bench.ask("GET", "/ready")
        return answer.status, answer.body

    assert await ready() == (200, b"LIVE\n")
    await bench.ask("POST", "/healthcheck/fail")
    assert (await ready())[0] == 503 and bench.admin.is_failed
    await bench.ask("POST", "/healthcheck/ok")
    assert await ready() == (200, b"LIVE\n")
    bench.is_ready = False
    assert await ready() == (503, b"INITIALIZING\n")
    bench.proxy.drain.begin()
    assert await ready() == (503, b"DRAINING\n")


async def test_what_changes_something_wants_post(bench: Bench) -> None:
    for path in ("/quitquitquit", "/drain_listeners", "/healthcheck/fail", "/healthcheck/ok"):
        answer = await bench.ask("GET", path)
        assert (answer.status, answer.headers) == (405, b"allow: POST\r\n")
    assert bench.calls == []
    for path in ("/drain_listeners", "/quitquitquit"):
        assert (await bench.ask("POST", path)).body == b"OK\n"
    assert bench.calls == ["drain", "quit"]
    assert (await bench.ask("POST", "/stats")).status == 405


async def test_log_levels(bench: Bench) -> None:
    assert b"active loggers:" in (await bench.ask("GET", "/logging")).body
    assert (await bench.ask("GET", "/logging", level="debug")).status == 405
    assert (await bench.ask("POST", "/logging", level="debug")).status == 200
    assert logging.getLogger().level == logging.DEBUG
    await bench.ask("POST", "/logging", **{"mesh.proxy.admin": "error"})
    assert logging.getLogger("mesh.proxy.admin").level == logging.ERROR
    assert (await bench.ask("POST", "/logging", level="loud")).status == 400
    assert (await bench.ask("POST", "/logging", nobody="info")).status == 404


async def test_memory_is_what_the_kernel_says(bench: Bench) -> None:
    memory = await bench.json("/memory")
    assert 1 << 20 < int(memory["resident"]) < int(memory["virtual"])


async def test_help_lists_what_there_is(bench: Bench) -> None:
    body = (await bench.ask("GET", "/help")).body.decode()
    assert "  /config_dump\n" in body and "  /quitquitquit (POST)\n" in body
    unknown = await bench.ask("GET", "/nope")
    assert unknown.status == 404 and b"/help" in unknown.body
