"""meshctl proxy-config: what one proxy really has."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from cryptography import x509

from mesh.cli import describe
from mesh.cli.options import Format, Kubeconfig, Namespace, Output, connect
from mesh.cli.output import document, show
from mesh.cli.proxies import admin, find

Row = dict[str, Any]
Target = Annotated[str, typer.Argument(metavar="POD", help="POD, POD.NAMESPACE or deploy/NAME.")]

app = typer.Typer(no_args_is_help=True, help="What one proxy really has: clusters, listeners, routes, endpoints, certificates.")


def clusters(dump: describe.Json) -> Iterator[Row]:
    """One row a cluster."""
    for cluster in describe.sections(dump, "clusters"):
        direction, port, subset, host = (cluster["name"].split("|") + ["", "", ""])[:4] if "|" in cluster["name"] else ("", "", "", cluster["name"])
        yield {
            "service": host or "-",
            "port": port,
            "subset": subset,
            "direction": direction,
            "type": cluster.get("type", "STATIC"),
            "policy": cluster.get("lb_policy", "ROUND_ROBIN"),
            "tls": describe.upstream_tls_text(cluster),
            "origin": describe.origin_text(cluster),
            "name": cluster["name"],
        }


def listeners(dump: describe.Json) -> Iterator[Row]:
    """One row a filter chain."""
    for listener in describe.sections(dump, "listeners"):
        address = listener.get("address", {}).get("socket_address", {})
        chains = [(chain, False) for chain in listener.get("filter_chains", [])]
        if "default_filter_chain" in listener:
            chains.append((listener["default_filter_chain"], True))
        for chain, is_default in chains:
            yield {
                "name": listener["name"],
                "address": address.get("address", ""),
                "port": address.get("port_value", 0),
                "match": "otherwise" if is_default else _chain_match(chain.get("filter_chain_match", {})),
                "tls": describe.tls_text(chain.get("transport_socket", {})),
                "destination": _chain_destination(chain),
            }


def routes(dump: describe.Json) -> Iterator[Row]:
    """One row a route."""
    for config in describe.sections(dump, "routes"):
        for host in config.get("virtual_hosts", []):
            for route in host.get("routes", []):
                yield {
                    "name": config["name"],
                    "host": host["name"],
                    "domains": host["domains"],
                    "match": describe.match_text(route.get("match", {})),
                    "target": _shares(route),
                    "origin": describe.origin_text(route),
                }


def endpoints(dump: describe.Json) -> Iterator[Row]:
    """One row an endpoint."""
    for assignment in describe.sections(dump, "endpoints"):
        for locality in assignment.get("endpoints", []):
            for endpoint in locality.get("lb_endpoints", []):
                address = endpoint["endpoint"]["address"]["socket_address"]
                metadata = endpoint.get("metadata", {}).get("filter_metadata", {})
                workload = metadata.get("istio", {}).get("workload", "")
                yield {
                    "endpoint": f"{address['address']}:{address['port_value']}",
                    "status": endpoint.get("health_status", "HEALTHY"),
                    "workload": "/".join(reversed(workload.split(";")[:2])),
                    "weight": endpoint.get("load_balancing_weight", 1),
                    "tls": "mesh" if metadata.get("envoy.transport_socket_match", {}).get("tlsMode") == "istio" else "-",
                    "cluster": assignment["cluster_name"],
                }


def secrets(dump: describe.Json) -> Iterator[Row]:
    """One row a certificate or bundle of roots, of which the first certificate is shown. Source: istioctl proxy-config secret."""
    for secret in describe.sections(dump, "secrets"):
        is_chain = "tls_certificate" in secret
        source = secret["tls_certificate"]["certificate_chain"] if is_chain else secret["validation_context"]["trusted_ca"]
        first = x509.load_pem_x509_certificates(base64.b64decode(source["inline_bytes"]))[0]
        yield {
            "name": secret["name"],
            "type": "Cert Chain" if is_chain else "CA",
            "status": "ACTIVE",
            "valid": "true" if first.not_valid_before_utc <= datetime.now(UTC) <= first.not_valid_after_utc else "false",
            "serial": f"{first.serial_number:x}",
            "not_after": f"{first.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            "not_before": f"{first.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        }


VIEWS: dict[str, tuple[Callable[[describe.Json], Iterator[Row]], list[tuple[str, str]]]] = {
    "clusters": (clusters, [("service", "SERVICE"), ("port", "PORT"), ("subset", "SUBSET"), ("direction", "DIRECTION"), ("type", "TYPE"), ("policy", "BALANCER"), ("tls", "TLS"), ("origin", "FROM")]),
    "listeners": (listeners, [("name", "LISTENER"), ("address", "ADDRESS"), ("port", "PORT"), ("match", "MATCH"), ("tls", "TLS"), ("destination", "DESTINATION")]),
    "routes": (routes, [("name", "ROUTES"), ("host", "VIRTUAL HOST"), ("match", "MATCH"), ("target", "TARGET"), ("origin", "FROM")]),
    "endpoints": (endpoints, [("endpoint", "ENDPOINT"), ("status", "STATUS"), ("workload", "WORKLOAD"), ("weight", "WEIGHT"), ("tls", "TLS"), ("cluster", "CLUSTER")]),
    "secrets": (secrets, [("name", "RESOURCE NAME"), ("type", "TYPE"), ("status", "STATUS"), ("valid", "VALID CERT"), ("serial", "SERIAL NUMBER"), ("not_after", "NOT AFTER"), ("not_before", "NOT BEFORE")]),
}


def _command(view: str) -> None:
    def command(pod: Target, namespace: Namespace = "default", kubeconfig: Kubeconfig = None, output: Output = Format.table) -> None:
        kube = connect(kubeconfig)
        dump = admin(kube, find(kube, pod, namespace), "/config_dump?include_eds")
        rows, columns = VIEWS[view]
        if output is Format.table:
            show(sorted(rows(dump), key=lambda row: [str(value) for value in row.values()]), columns, output, f"the proxy has no {view}")
        else:
            document(list(describe.sections(dump, view)), output)

    singular = view.removesuffix("s")
    app.command(view, help=f"The {view} of a proxy; json and yaml print Envoy's own messages.", short_help=f"Its {view}.")(command)
    app.command(singular, hidden=True)(command)


for _view in VIEWS:
    _command(_view)


@app.command("all", help="The proxy's whole config dump, as Envoy's admin prints it.", short_help="Everything: its whole config dump.")
def everything(pod: Target, namespace: Namespace = "default", kubeconfig: Kubeconfig = None, output: Output = Format.json) -> None:
    """All views below one another as tables, or the raw dump as json or yaml."""
    kube = connect(kubeconfig)
    dump = admin(kube, find(kube, pod, namespace), "/config_dump?include_eds")
    if output is not Format.table:
        return document(dump, output)
    for view, (rows, columns) in VIEWS.items():
        print(f"\n{view.upper()}")
        show(list(rows(dump)), columns, output, f"the proxy has no {view}")


def _shares(route: describe.Json) -> str:
    shares = describe.targets(route)
    if not shares[0].cluster:
        return describe.action_text(route)
    return " ".join(f"{share.text} {share.percent:.0f}%" if len(shares) > 1 else share.text for share in shares)


def _chain_match(match: describe.Json) -> str:
    parts = [str(match["transport_protocol"])] if match.get("transport_protocol") else []
    parts += match.get("application_protocols", []) + match.get("server_names", [])
    if match.get("destination_port"):
        parts.append(f"port {match['destination_port']}")
    parts += [f"{prefix['address_prefix']}/{prefix.get('prefix_len', 0)}" for prefix in match.get("prefix_ranges", [])]
    return " ".join(parts) or "all"


def _chain_destination(chain: describe.Json) -> str:
    for entry in chain.get("filters", []):
        config = entry.get("typed_config", {})
        kind = str(config.get("@type", "")).rsplit(".", 1)[-1]
        if kind == "HttpConnectionManager":
            if "rds" in config:
                return f"routes {config['rds']['route_config_name']}"
            hosts = config.get("route_config", {}).get("virtual_hosts", [])
            return "http " + " ".join(describe.action_text(route) for host in hosts for route in host.get("routes", []))
        if kind == "TcpProxy":
            if "cluster" in config:
                return f"tcp {describe.cluster_text(config['cluster'])}"
            shares = config.get("weighted_clusters", {}).get("clusters", [])
            return "tcp " + " ".join(f"{describe.cluster_text(share['name'])} {share.get('weight', 0)}" for share in shares)
    return "-"
