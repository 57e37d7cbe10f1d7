"""meshctl routes: per service, where requests go, which object says so, and where they really went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
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


def rows_of(dump: describe.Json, measured: Mapping[tuple[str, str, str], Mapping[str, float]]) -> Iterator[Row]:
    """One row a rule and target; the matches that one rule ORs share a row.

    Args: dump: a proxy's config dump; measured: requests by (virtual host, origin, generation), then cluster (`traffic.shares`).
    """
    for config in describe.sections(dump, "routes"):
        for host in config.get("virtual_hosts", []):
            for (origin, generation), rules in groupby(host.get("routes", []), key=_rule):
                alternatives = list(rules) if origin else []
                for same in [alternatives] if origin else ([rule] for rule in rules):
                    counts = measured.get((host["name"], origin, generation), {})
                    yield from _targets(host["name"], same, origin, counts)


def _targets(host: str, rules: list[describe.Json], origin: str, counts: Mapping[str, float]) -> Iterator[Row]:
    total = sum(counts.values())
    match = " | ".join(dict.fromkeys(describe.match_text(rule.get("match", {})) for rule in rules))
    for target in describe.targets(rules[0]):
        count = counts.get(target.cluster, 0.0)
        yield {
            "service": host,
            "match": match,
            "target": target.text if target.cluster else describe.action_text(rules[0]),
            "configured": target.percent,
            "measured": 100.0 * count / total if total else None,
            "requests": int(count),
            "origin": origin or PLAIN,
            "cluster": target.cluster,
        }


def _rule(route: describe.Json) -> tuple[str, str]:
    made = route.get("metadata", {}).get("filter_metadata", {}).get("triomesh.io", {})
    return describe.origin_text(route), str(int(made.get("generation", 0)) or "")


def routes(
    service: Annotated[str | None, typer.Argument(metavar="[SERVICE]", help="Only this service, e.g. reviews or reviews.default.")] = None,
    namespace: Namespace = "default",
    source: Annotated[str | None, typer.Option("--from", metavar="POD", help="Routes as this proxy has them (POD or deploy/NAME). Default: a ready sidecar of the namespace, and the gateways.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also services that no route object speaks of.")] = False,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.table,
) -> None:
    """Where each service's requests go: matches, targets, weights, the object they came from, configured and measured share."""
    kube = connect(kubeconfig)
    running = proxies(kube)
    chosen = [find(kube, source, namespace)] if source else _observers(running, namespace)
    if not chosen:
        raise CommandError(f"no ready proxy in namespace {namespace}: label it triomesh-injection=enabled and restart its pods, or name one by --from")
    measured = traffic.shares(traffic.route_shares(scrape(kube, running).values()))
    found: dict[tuple[str, ...], Row] = {}
    for proxy in chosen:
        for row in rows_of(admin(kube, proxy, "/config_dump"), measured):
            if _wanted(row, service, everything):
                found.setdefault((row["service"], row["match"], row["cluster"], row["origin"]), row)
    if service is not None and not found:
        asked = ", ".join(str(proxy) for proxy in chosen)
        raise CommandError(f"{asked} has no service {service}: see `meshctl routes --all`")
    show(list(found.values()), COLUMNS, output, "no routes; --all shows services without one")


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
