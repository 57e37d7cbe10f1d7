"""meshctl traffic: live success rate, requests per second and latency, per edge and per route, from the proxies' own metrics."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from mesh.cli.describe import cluster_text
from mesh.cli.kube import Kube
from mesh.cli.metrics import Stats, grouped
from mesh.cli.options import AllNamespaces, Format, Kubeconfig, Namespace, Output, connect
from mesh.cli.output import document, show, table
from mesh.cli.proxies import proxies, scrape

Row = dict[str, Any]
EDGE_LABELS = ("source_workload", "source_workload_namespace", "destination_workload", "destination_workload_namespace", "destination_service_name")
POLICY = "connection_security_policy"
ROUTE_LABELS = ("virtual_host", "origin", "cluster")
ROUTE_REQUESTS = "triomesh_route_requests_total"
ROUTE_DURATION = "triomesh_route_request_duration_seconds_bucket"
EDGE_COLUMNS = [("from", "FROM"), ("to", "TO"), ("success", "SUCCESS %"), ("rps", "RPS"), ("p50", "P50 MS"), ("p95", "P95 MS"), ("p99", "P99 MS"), ("requests", "REQUESTS"), ("mtls", "MTLS %")]
ROUTE_COLUMNS = [("host", "HOST"), ("origin", "ROUTE"), ("target", "TARGET"), *EDGE_COLUMNS[2:-1]]

Groups = dict[tuple[str, ...], Stats]


def edges(texts: Iterable[str]) -> Groups:
    """Counts per client workload and server workload, as the clients' proxies saw them; who called is proved to the servers'."""
    texts = list(texts)
    found = grouped(texts, EDGE_LABELS, {"reporter": "source"})
    for (*edge, policy), stats in grouped(texts, (*EDGE_LABELS, POLICY), {"reporter": "destination"}).items():
        if (known := found.get(key := tuple(edge))) is not None:
            secured = stats.requests if policy == "mutual_tls" else 0.0
            found[key] = replace(known, received=known.received + stats.requests, secured=known.secured + secured)
    return found


def routes(texts: Iterable[str]) -> Groups:
    """Counts per virtual host, route origin and cluster, as the deciding proxies saw them."""
    return grouped(texts, ROUTE_LABELS, {}, ROUTE_REQUESTS, ROUTE_DURATION)


def route_shares(texts: Iterable[str]) -> Groups:
    """Counts per virtual host, route origin, generation of its object, and cluster: edits of one object are kept apart."""
    return grouped(texts, ("virtual_host", "origin", "generation", "cluster"), {}, ROUTE_REQUESTS, ROUTE_DURATION)


def since(now: Groups, before: Groups) -> Groups:
    """What happened between two scrapes; groups in which nothing did are left out."""
    nothing = Stats()
    changed = {key: stats.minus(before.get(key, nothing)) for key, stats in now.items()}
    return {key: stats for key, stats in changed.items() if stats.requests}


def rates(stats: Stats, seconds: float) -> Row:
    """The RED numbers of one group. success in percent, latencies in milliseconds; None where there is nothing to say."""
    return {
        "success": stats.success_percent,
        "rps": stats.requests / seconds if seconds > 0 else None,
        "p50": stats.quantile(0.5),
        "p95": stats.quantile(0.95),
        "p99": stats.quantile(0.99),
        "requests": int(stats.requests),
    }


def edge_rows(groups: Groups, seconds: float, namespace: str = "") -> list[Row]:
    """One row an edge; with a namespace, those that touch it."""
    rows = []
    for (source, source_namespace, target, target_namespace, service), stats in sorted(groups.items()):
        if namespace and namespace not in (source_namespace, target_namespace):
            continue
        to = target if target not in ("", "unknown") else service
        ends = {"from": _short(source, source_namespace, namespace), "to": _short(to, target_namespace, namespace)}
        rows.append({**ends, **rates(stats, seconds), "mtls": stats.secured_percent})
    return rows


def route_rows(groups: Groups, seconds: float) -> list[Row]:
    """One row a route and target."""
    return [
        {"host": host, "origin": origin, "target": cluster_text(cluster), **rates(stats, seconds)}
        for (host, origin, cluster), stats in sorted(groups.items())
    ]


def traffic(
    namespace: Namespace = "default",
    all_namespaces: AllNamespaces = False,
    window: Annotated[float, typer.Option("--window", min=0.5, help="Seconds to measure over.")] = 5.0,
    total: Annotated[bool, typer.Option("--total", help="Since the proxies started, at once, instead of a window (no RPS).")] = False,
    per_route: Annotated[bool, typer.Option("--routes", help="Per route and target instead of per edge.")] = False,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Again and again until interrupted.")] = False,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.table,
) -> None:
    """Live success rate, requests per second and latency of the mesh's traffic."""
    kube = connect(kubeconfig)
    scope = "" if all_namespaces else namespace
    before, started = ({}, 0.0) if total else (_measure(kube, per_route), time.monotonic())
    while True:
        if not total:
            time.sleep(window)
        now, at = _measure(kube, per_route), time.monotonic()
        seconds = 0.0 if total else at - started
        groups = since(now, before)
        rows = route_rows(groups, seconds) if per_route else edge_rows(groups, seconds, scope)
        columns = ROUTE_COLUMNS if per_route else EDGE_COLUMNS
        if not watch or total:
            return show(rows, columns, output, "no requests in this window")
        _refresh(rows, columns, output, seconds)
        before, started = now, at


def _measure(kube: Kube, per_route: bool) -> Groups:
    texts = scrape(kube, proxies(kube)).values()
    return routes(texts) if per_route else edges(texts)


def _refresh(rows: list[Row], columns: list[tuple[str, str]], output: Format, seconds: float) -> None:
    if output is not Format.table:
        return document(rows, output)
    clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
    print(f"{clear}last {seconds:.1f} s\n{table(rows, columns) if rows else 'no requests in this window'}", flush=True)


def _short(name: str, namespace: str, current: str) -> str:
    return name if not namespace or namespace in (current, "unknown") else f"{name}.{namespace}"


def shares(groups: Groups) -> Mapping[tuple[str, str, str], dict[str, float]]:
    """Measured requests by (virtual host, origin, generation), then by cluster. Args: groups: of `route_shares`."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for (host, origin, generation, cluster), stats in groups.items():
        found.setdefault((host, origin, generation), {})[cluster] = stats.requests
    return found
