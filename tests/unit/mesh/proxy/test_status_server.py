from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from mesh.proxy.local_http import Answer, Request, serve
from mesh.proxy.observe.telemetry import Telemetry, TelemetrySettings
from mesh.proxy.probes import Prober, TcpProber
from mesh.proxy.status_server import AppMetrics, StatusServer, parse_app_metrics
from tests.support.observe import head

APP = b"# HELP request_result Results\n# TYPE request_result counter\nrequest_result_total 3\n"


def request(method: str, path: str, peer: str = "10.0.0.1", **headers: str) -> Request:
    return Request(method, path, {}, head(method, path, "h", **headers), b"", peer)


class Bench:
    def __init__(self, app: AppMetrics | None = None) -> None:
        self.is_ready = True
        self.quits = 0
        self.telemetry = Telemetry("sidecar~1~a~b", {}, TelemetrySettings(), "0.1.0")
        self.server = StatusServer(
            self.telemetry,
            now=lambda: 1.0,
            is_ready=lambda: self.is_ready,
            quit=self._quit,
            probers={"/app-health/a/readyz": Prober(TcpProber(1), 0.5)},
            app_metrics=app,
            pod_ip="127.0.0.1",
        )

    def _quit(self) -> None:
        self.quits += 1


@asynccontextmanager
async def application(answer: Answer, host: str = "127.0.0.1") -> AsyncIterator[AppMetrics]:
    async def handle(item: Request) -> Answer:
        return answer if item.path == "/metrics" else Answer(404)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, await trio.open_tcp_listeners(0, host=host), handle))
        yield AppMetrics(listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def merged(answer: Answer, host: str = "127.0.0.1") -> str:
    async with application(answer, host) as app:
        found = await Bench(app).server.handle_status(request("GET", "/stats/prometheus"))
    assert (found.status, found.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return found.body.decode()


async def test_both_metrics_in_one_document() -> None:
    text = await merged(Answer(200, APP, "text/plain; version=0.0.4"))
    assert 'triomesh_build_info{version="0.1.0"} 1\n' in text and text.endswith("request_result_total 3\n")
    assert 'triomesh_scrape_failures_total{type="application"} 0\n' in text


async def test_an_application_on_ipv6_only_is_found() -> None:
    assert (await merged(Answer(200, APP, "text/plain"), "::1")).endswith("request_result_total 3\n")


async def test_the_end_mark_of_openmetrics_is_cut() -> None:
    text = await merged(Answer(200, APP + b"# EOF\n", "application/openmetrics-text; version=1.0.0"))
    assert "# EOF" not in text and text.endswith("request_result_total 3\n")


@pytest.mark.parametrize(
    "answer", [Answer(500, b"x 1\n"), Answer(200, b"<html>", "text/html"), Answer(404, b"x 1\n", "text/plain")]
)
async def test_what_is_not_metrics_is_left_out_and_counted(answer: Answer) -> None:
    async with application(answer) as app:
        bench = Bench(app)
        first = await bench.server.handle_status(request("GET", "/stats/prometheus"))
        second = await bench.server.handle_status(request("GET", "/stats/prometheus"))
    assert first.status == 200 and answer.body not in first.body
    assert b'triomesh_scrape_failures_total{type="application"} 2\n' in second.body


async def test_an_application_that_is_down_does_not_hurt() -> None:
    async with application(Answer()) as app:
        pass
    bench = Bench(app)
    found = await bench.server.handle_status(request("GET", "/stats/prometheus"))
    assert found.status == 200 and b"triomesh_build_info" in found.body


async def test_a_slow_application_is_given_up_in_the_scrapers_time() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    async with listener:
        bench = Bench(AppMetrics(listener.socket.getsockname()[1]))
        started = trio.current_time()
        asked = request("GET", "/stats/prometheus", x_prometheus_scrape_timeout_seconds="0.2")
        found = await bench.server.handle_status(asked)
    assert found.status == 200 and trio.current_time() - started < 2.0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_the_merged_document_is_valid() -> None:
    text = await merged(Answer(200, APP.replace(b"request_result ", b"request_result_total "), "text/plain"))
    done = await trio.run_process(["promtool", "check", "metrics"], stdin=text.encode(), capture_stdout=True, capture_stderr=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


async def test_probes_are_executed() -> None:
    found = await Bench().server.handle_status(request("GET", "/app-health/a/readyz"))
    assert found.status == 503 and b"port 1" in found.body
    unknown = await Bench().server.handle_status(request("GET", "/app-health/b/readyz"))
    assert unknown.status == 404 and b"/app-health/b/readyz" in unknown.body


async def test_readiness() -> None:
    bench = Bench()
    for handler in (bench.server.handle_ready, bench.server.handle_status):
        bench.is_ready = True
        assert (await handler(request("GET", "/healthz/ready"))).status == 200
        bench.is_ready = False
        assert (await handler(request("GET", "/healthz/ready"))).status == 503
    assert (await bench.server.handle_ready(request("GET", "/"))).status == 404
    assert (await bench.server.handle_ready(request("POST", "/healthz/ready"))).status == 405


async def test_quitting_takes_a_local_post() -> None:
    bench = Bench()
    statuses = [
        (await bench.server.handle_status(item)).status
        for item in (
            request("GET", "/quitquitquit", "127.0.0.1"),
            request("POST", "/quitquitquit", "10.0.0.9"),
            request("POST", "/quitquitquit", "127.0.0.1"),
            request("POST", "/quitquitquit", "::ffff:127.0.0.1"),
        )
    ]
    assert (statuses, bench.quits) == ([405, 403, 200, 200], 2)


async def test_our_own_metrics_in_both_formats() -> None:
    bench = Bench()
    plain = await bench.server.handle_metrics(request("GET", "/stats/prometheus"))
    open_form = await bench.server.handle_metrics(request("GET", "/stats/prometheus", accept="application/openmetrics-text;version=1.0.0"))
    assert plain.content_type.startswith("text/plain") and not plain.body.endswith(b"# EOF\n")
    assert open_form.content_type.startswith("application/openmetrics-text") and open_form.body.endswith(b"# EOF\n")
    assert [(await bench.server.handle_metrics(request(*item))).status for item in (("GET", "/"), ("PUT", "/stats/prometheus"))] == [404, 405]


async def test_other_paths_are_not_found() -> None:
    assert (await Bench().server.handle_status(request("GET", "/"))).status == 404


def test_annotations() -> None:
    assert parse_app_metrics("") is None
    assert parse_app_metrics("{}") is None
    assert parse_app_metrics(json.dumps({"scrape": "false", "port": "1"})) is None
    assert parse_app_metrics(json.dumps({"scrape": "true"})) == AppMetrics(80, "/metrics")
    assert parse_app_metrics(json.dumps({"scrape": "true", "port": "9080", "path": "stats"})) == AppMetrics(9080, "/stats")


@pytest.mark.parametrize("document", ["[]", "{", '{"scrape": "true", "port": "http"}', '{"scrape": "true", "path": "/a b"}'])
def test_bad_annotations_are_refused(document: str) -> None:
    with pytest.raises(ValueError):
        parse_app_metrics(document)
