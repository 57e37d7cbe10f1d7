"""meshctl routes: per service, where requests go, which object says so, and where they really went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from mesh.cli import describe, traffic
from mesh.cli.failure import CommandError
from mesh.cli.options import Format, Kubeconfig, Namespace, Output, connect
from mesh.cli.output import show
from mesh.cli.proxies import Proxy, admin, find, proxies, scrape

Row = dict[str, Any]
COLUMNS = [("service", "SERVICE"), ("match", "MATCH"), ("target", "TARGET"), ("configured", "WEIGHT %"), ("measured", "MEASURED %"), ("requests", "REQUESTS"), ("origin", "FROM")]
PLAIN = "(no route object)"
UNROUTED = (PLAIN, "Service/")  # a Service alone: every request goes to it


def rows_of(dump: describe.Json, measured: Mapping[tuple[str, str], Mapping[str, float]]) -> Iterator[Row]:
    """One row a route and target.

    Args: dump: a proxy's config dump; measured: requests by (virtual host, origin), then cluster (`traffic.shares`).
    """
    for config in describe.sections(dump, "routes"):
        for host in config.get("virtual_hosts", []):
            for route in host.get("routes", []):
                origin = describe.origin_text(route)
                counts = measured.get((host["name"], origin), {})
                targets = describe.targets(route)
                # Counters outlive the object they were counted for: targets that this route no longer has are another story.
                total = sum(counts.get(target.cluster, 0.0) for target in targets)
                for target in targets:
                    count = counts.get(target.cluster, 0.0)
                    yield {
                        "service": host["name"],
                        "match": describe.match_text(route.get("match", {})),
                        "target": target.text if target.cluster else describe.action_text(route),
                        "configured": target.percent,
                        "measured": 100.0 * count / total if total else None,
                        "requests": int(count),
                        "origin": origin or PLAIN,
                        "cluster": target.cluster,
                    }


def routes(
    service: Annotated[str | None, typer.Argument(metavar="[SERVICE]", help="Only this service, e.g. reviews or reviews.default.")] = None,
    namespace: Namespace = "default",
    source: Annotated[str | None, typer.Option("--from", metavar="POD", help="Routes as this proxy has them (POD or deploy/NAME). Default: a ready sidecar of the namespace, and the gateways.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also services that no object routes.")] = False,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.table,
) -> None:
    """Where each service's requests go: matches, targets, weights, the object they came from, configured and measured share."""
    kube = connect(kubeconfig)
    running = proxies(kube)
    chosen = [find(kube, source, namespace)] if source else _observers(running, namespace)
    if not chosen:
        raise CommandError(f"no ready proxy in namespace {namespace}: label it triomesh-injection=enabled and restart its pods, or name one by --from")
    measured = traffic.shares(traffic.routes(scrape(kube, running).values()))
    found: dict[tuple[str, ...], Row] = {}
    for proxy in chosen:
        for row in rows_of(admin(kube, proxy, "/config_dump"), measured):
            if _wanted(row, service, everything):
                found.setdefault((row["service"], row["match"], row["cluster"], row["origin"]), row)
    show(list(found.values()), COLUMNS, output, f"no routes{f' for {service}' if service else ''}; --all shows services without one")


def _observers(running: list[Proxy], namespace: str) -> list[Proxy]:
    ready = [proxy for proxy in running if proxy.is_ready]
    sidecar = next((proxy for proxy in ready if proxy.namespace == namespace), None)
    gateways = [proxy for proxy in ready if "gateway" in proxy.workload and proxy is not sidecar]
    return ([sidecar] if sidecar else []) + gateways


def _wanted(row: Row, service: str | None, everything: bool) -> bool:
    if service is not None:
        host = str(row["service"]).rsplit(":", 1)[0]
        return host == service or host.startswith(f"{service}.")
    return everything or not row["origin"].startswith(UNROUTED)
