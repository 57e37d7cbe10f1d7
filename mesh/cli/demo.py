"""meshctl demo: the main job of the mesh on this machine, measured as it goes.

Bookinfo through real sidecars: injection, a 90/10 split, a header route, one trace, and the golden numbers.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

import mesh
from mesh.cli import describe, sandbox, traces, traffic
from mesh.cli.failure import CommandError
from mesh.cli.install import apply_all, documents
from mesh.cli.kube import Kube
from mesh.cli.load import Answer, Client
from mesh.cli.options import DEFAULT_SANDBOX, Format, SandboxName
from mesh.cli.output import document, step, table
from mesh.cli.poll import poll
from mesh.cli.proxies import Proxy, admin, proxies, scrape

BOOKINFO = Path(mesh.__file__).resolve().parent.parent / "samples/bookinfo"
NAMESPACE = "default"
SERVICES = {"productpage", "details", "reviews", "ratings"}
PODS = 6
SPLIT_REQUESTS = 1200
SPLIT_TOLERANCE = 3.0
PAGE, REVIEWS_API = "/productpage", "/api/v1/products/0/reviews"
USER_PAGES = 20
PODS_SECONDS, ROUTE_SECONDS, TRACE_SECONDS = 90.0, 30.0, 20.0


@dataclass(slots=True)
class Report:
    """What the demo measured; `meshctl demo --json` prints it. failures: the promises that did not hold."""

    seconds: dict[str, float] = field(default_factory=dict)
    pods: dict[str, str] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    users: dict[str, dict[str, int]] = field(default_factory=dict)
    trace: dict[str, Any] = field(default_factory=dict)
    red: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def check(self, holds: bool, promise: str) -> None:
        """Note a promise that does not hold."""
        if not holds:
            self.failures.append(promise)


def demo(
    name: SandboxName = DEFAULT_SANDBOX,
    json: Annotated[bool, typer.Option("--json", help="Print what was measured as one JSON document on standard output.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Tear the sandbox down at the end.")] = False,
    otlp: Annotated[str, typer.Option("--otlp", metavar="HOST:PORT", help="Also send spans to this OTLP/gRPC collector.")] = "",
) -> None:
    """Run bookinfo through real sidecars on this machine and show what a mesh does for it.

    Exit code 0: everything held. The sandbox is left up, with next steps printed, unless --down is given.
    """
    started = time.monotonic()
    report = Report()
    try:
        running = sandbox.bring_up(name, otlp)
        report.seconds["sandbox"] = time.monotonic() - started
        play(running.kube, running.gateway_url, report)
    finally:
        if down:
            sandbox.take_down(name)
    report.seconds["total"] = time.monotonic() - started
    if json:
        document(report_document(report), Format.json)
    else:
        print(f"\ndone in {report.seconds['total']:.0f} s")
        if not down:
            print(next_steps(running.gateway_url))
    if report.failures:
        raise CommandError("the demo did not hold: " + "; ".join(report.failures))


def play(kube: Kube, gateway_url: str, report: Report) -> None:
    """The story, on a cluster that has the mesh. Fills the report."""
    out = sys.stderr
    step(f"injecting sidecars: label namespace {NAMESPACE}, deploy bookinfo")
    kube.merge("v1", "Namespace", NAMESPACE, {"metadata": {"labels": {"triomesh-injection": "enabled"}}})
    apply_all(kube, documents(BOOKINFO / "platform/kube/bookinfo.yaml"), NAMESPACE, as_user=True)
    started = time.monotonic()
    report.pods = ready_pods(kube)
    report.seconds["bookinfo"] = time.monotonic() - started
    report.check(len(report.pods) == PODS and set(report.pods.values()) == {"2/2"}, f"{PODS} pods ready 2/2")
    print("\n".join(f"   {pod:<36} {ready}" for pod, ready in report.pods.items()), file=out)

    step("routing: reviews 90 % v1, 10 % v2")
    for file in ("bookinfo-gateway", "destination-rule-all", "virtual-service-reviews-90-10"):
        apply_all(kube, documents(BOOKINFO / f"networking/{file}.yaml"), NAMESPACE, as_user=True)
    client = Client(gateway_url)
    await_page(client)
    await_weights(kube, "productpage", "reviews", [90, 10])
    before, at = scraped(kube), time.monotonic()
    report.split = split(client.many(REVIEWS_API, SPLIT_REQUESTS))
    report.split["seconds"] = time.monotonic() - at
    report.check(abs(report.split["v1_percent"] - 90.0) <= SPLIT_TOLERANCE, f"90/10 within {SPLIT_TOLERANCE} points")
    report.check(report.split["errors"] == 0, "no failed request during the split")
    print(f"   {SPLIT_REQUESTS} requests: v1 {report.split['v1_percent']:.1f} %, v2 {report.split['v2_percent']:.1f} %, {report.split['errors']} errors", file=out)

    step("routing by header: jason sees v2, everybody else v1")
    apply_all(kube, documents(BOOKINFO / "networking/virtual-service-reviews-test-v2.yaml"), NAMESPACE, as_user=True)
    await_weights(kube, "productpage", "reviews", [])
    jason = client.login("jason")
    for user, session, wanted in (("jason", jason, "v2"), ("anonymous", {}, "v1")):
        report.users[user] = dict(versions(client.many(PAGE, USER_PAGES, session)))
        report.check(report.users[user] == {wanted: USER_PAGES}, f"{user} always on {wanted}")
        print(f"   {user}: {report.users[user]} of {USER_PAGES} pages", file=out)

    step("tracing: one page for jason (his reviews ask ratings), every hop")
    report.trace = traced_page(kube, client, jason)
    report.check(report.trace["roots"] == 1 and set(report.trace["services"]) >= SERVICES, "one trace joins every hop")
    print("\n".join("   " + line for line in report.trace["tree"]), file=out)

    step("the golden numbers of this run, from the proxies' metrics")
    seconds = time.monotonic() - at
    report.red = traffic.edge_rows(traffic.since(scraped(kube), before), seconds)
    report.check(bool(report.red), "metrics of the run")
    print(table(report.red, traffic.EDGE_COLUMNS), file=out)


def ready_pods(kube: Kube) -> dict[str, str]:
    """Wait until every bookinfo pod is ready. Returns: "ready/all" containers by pod."""

    def of(found: Mapping[str, Any]) -> dict[str, str]:
        mine = {name: pod for name, pod in found.items() if pod["metadata"].get("labels", {}).get("app") in SERVICES and "deletionTimestamp" not in pod["metadata"]}
        return {name: ready_text(pod) for name, pod in sorted(mine.items())}

    found = kube.until("v1", "Pod", NAMESPACE, lambda pods: len(of(pods)) >= PODS and all(all_ready(text) for text in of(pods).values()), PODS_SECONDS)
    return of(found)


def ready_text(pod: Mapping[str, Any]) -> str:
    """`2/2`, as `kubectl get pods` counts: ready containers of all, native sidecars among them."""
    sidecars = {c["name"] for c in pod["spec"].get("initContainers", []) if c.get("restartPolicy") == "Always"}
    status = pod.get("status", {})
    counted = status.get("containerStatuses", []) + [s for s in status.get("initContainerStatuses", []) if s["name"] in sidecars]
    return f"{sum(bool(s.get('ready')) for s in counted)}/{len(pod['spec']['containers']) + len(sidecars)}"


def all_ready(text: str) -> bool:
    """Is `n/n` complete?"""
    ready, _, wanted = text.partition("/")
    return ready == wanted


def await_page(client: Client) -> None:
    """Until the gateway serves the product page."""
    answer = poll(lambda: client.send("GET", PAGE), lambda answer: answer.status == 200, ROUTE_SECONDS)
    if answer.status != 200:
        raise CommandError(f"the gateway does not serve {PAGE}: {answer.status} {answer.body[:200]}")


def await_weights(kube: Kube, workload: str, service: str, weights: Sequence[int]) -> None:
    """Until a workload's proxy really has a route to `service` with these weights ([] = no weighted route at all)."""
    proxy = _proxy_of(kube, workload)

    def weights_now() -> list[list[int]]:
        return [
            [target.weight for target in describe.targets(route)]
            for config in describe.sections(admin(kube, proxy, "/config_dump"), "routes")
            for host in config.get("virtual_hosts", [])
            if host["name"].startswith(f"{service}.{NAMESPACE}.")
            for route in host.get("routes", [])
        ]

    def is_there(found: list[list[int]]) -> bool:
        return list(weights) in found if weights else len(found) > 1 and all(len(row) == 1 for row in found)

    found = poll(weights_now, is_there, ROUTE_SECONDS)
    if not is_there(found):
        raise CommandError(f"{proxy} has no such route to {service} after {ROUTE_SECONDS:.0f} s: it has weights {found}")


def _proxy_of(kube: Kube, workload: str) -> Proxy:
    for proxy in proxies(kube, NAMESPACE):
        if proxy.workload.startswith(workload) and proxy.is_ready:
            return proxy
    raise CommandError(f"no ready proxy of {workload}")


def scraped(kube: Kube) -> traffic.Groups:
    """Edges as all proxies count them now."""
    return traffic.edges(scrape(kube, proxies(kube)).values())


def versions(answers: Sequence[Answer]) -> Counter[str]:
    """Which version of reviews made each answer, by the pod's name in it; other answers count by their status."""
    return Counter(next((version for version in ("v1", "v2", "v3") if f"reviews-{version}-" in answer.body), f"status {answer.status}") for answer in answers)


def split(answers: Sequence[Answer]) -> dict[str, Any]:
    """Measured shares of v1 and v2 among the answers that came."""
    counted = versions(answers)
    total = counted["v1"] + counted["v2"]
    errors = sum(answer.status != 200 for answer in answers)
    latencies = sorted(answer.seconds for answer in answers)
    return {
        "requests": len(answers),
        "errors": errors,
        "v1_percent": 100.0 * counted["v1"] / total if total else 0.0,
        "v2_percent": 100.0 * counted["v2"] / total if total else 0.0,
        "p50_ms": 1000 * latencies[len(latencies) // 2] if latencies else None,
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)] if latencies else None,
    }


def traced_page(kube: Kube, client: Client, session: Mapping[str, str]) -> dict[str, Any]:
    """Fetch one page under a trace id of our own and wait until its trace is whole."""
    trace_id = secrets.token_hex(16)
    client.send("GET", PAGE, {**session, "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"})

    def spans_now() -> list[traces.Span]:
        found = traces.fetch(kube, trace_id)
        return traces.spans(found[0]) if found else []

    spans = poll(spans_now, _is_whole, TRACE_SECONDS)
    return {"id": trace_id, "spans": len(spans), "services": _services(spans), "roots": len(traces.roots(spans)), "tree": list(traces.tree(spans))}


def _services(spans: Sequence[traces.Span]) -> list[str]:
    return sorted({span.service.partition(".")[0] for span in spans})


def _is_whole(spans: Sequence[traces.Span]) -> bool:
    """The gateway and every service took part, one root joins all, and whoever was called has said so, too."""
    callers = {span.parent for span in spans}
    answered = all(span.id in callers for span in spans if str(span.tags.get("span.kind", "")).lower() == "client")
    return set(_services(spans)) >= {"triomesh-ingressgateway", *SERVICES} and len(traces.roots(spans)) == 1 and answered


def report_document(report: Report) -> dict[str, Any]:
    """The report as JSON: durations in seconds, shares in percent."""
    return {
        "ok": not report.failures,
        "failures": report.failures,
        "seconds": {key: round(value, 2) for key, value in report.seconds.items()},
        "pods": report.pods,
        "split": report.split,
        "users": report.users,
        "trace": report.trace,
        "red": report.red,
    }


def next_steps(gateway_url: str) -> str:
    """What to try now."""
    return f"""
the sandbox is up. Try next:
  eval "$(.venv/bin/meshctl sandbox env)"      # KUBECONFIG and TRIOMESH_GATEWAY_URL for this shell
  curl -s {gateway_url}/productpage | head
  kubectl get pods
  kubectl exec deploy/ratings-v1 -c ratings -- curl -sS productpage:9080/productpage
  .venv/bin/meshctl routes
  .venv/bin/meshctl traffic --watch
  .venv/bin/meshctl traces --last
  .venv/bin/meshctl proxy-status
  .venv/bin/meshctl sandbox down               # leaves nothing behind"""
