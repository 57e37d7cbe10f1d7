"""A snapshot as text for golden files: what a person wants to check, nothing that is the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.model.cluster import Cluster, LbPolicy
from mesh.model.listener import FilterChain, HttpManager, Listener
from mesh.model.match import HeaderMatch, RouteMatch
from mesh.model.route import DirectResponse, ForwardAction, RedirectAction, Route
from mesh.model.secret import UpstreamTls
from mesh.model.snapshot import Snapshot


def text(snapshot: Snapshot) -> str:
    return "".join(f"{line}\n" for line in _lines(snapshot))


def _lines(snapshot: Snapshot) -> Iterator[str]:
    for name in sorted(snapshot.listeners):
        yield from _listener(snapshot.listeners[name])
    for name in sorted(snapshot.routes):
        yield f"routes {name}"
        for vhost in snapshot.routes[name].virtual_hosts:
            redirect = " require_tls" if vhost.require_tls else ""
            yield f"  {vhost.name}{redirect}: {' '.join(vhost.domains)}"
            yield from (f"    {_route(route)}" for route in vhost.routes)
    for name in sorted(snapshot.clusters):
        yield _cluster(snapshot.clusters[name])
        assignment = snapshot.endpoints.get(name) or snapshot.clusters[name].assignment
        for endpoint in assignment.endpoints() if assignment is not None else ():
            workload = endpoint.workload
            who = (
                f" {workload.name} {workload.canonical_name}@{workload.canonical_revision}"
                if workload is not None
                else ""
            )
            yield f"  {endpoint.address}{who}{' meshed' if endpoint.is_meshed else ''}"
    for name in sorted(snapshot.secrets):
        yield f"secret {name}"


def _listener(listener: Listener) -> Iterator[str]:
    flags = [flag.value for flag in sorted(listener.filters, key=lambda flag: flag.value)]
    flags += ["bound"] if listener.bind_to_port else []
    flags += [f"uninspected={','.join(map(str, listener.uninspected_ports))}"] if listener.uninspected_ports else []
    yield f"listener {listener.name} {listener.address} {' '.join(flags)}".rstrip()
    for chain in listener.chains:
        yield f"  {_chain(chain)}"
    if listener.default_chain is not None:
        yield f"  else {_chain(listener.default_chain)}"


def _chain(chain: FilterChain) -> str:
    match = chain.match
    words = [f"port={match.destination_port}"] if match.destination_port is not None else []
    words += [match.transport_protocol] if match.transport_protocol else []
    words += [f"sni={','.join(match.server_names)}"] if match.server_names else []
    words += [f"alpn={','.join(match.application_protocols)}"] if match.application_protocols else []
    words += [f"tls={','.join(chain.tls.certificate_names)}"] if chain.tls is not None else []
    if isinstance(chain.filter, HttpManager):
        words.append(f"http routes={chain.filter.route_config_name or 'inline'}")
        if chain.filter.route_config is not None:
            routes = [_route(route) for vhost in chain.filter.route_config.virtual_hosts for route in vhost.routes]
            words.append(f"[{'; '.join(routes)}]")
    else:
        words.append(f"tcp {' '.join(f'{c.weight}*{c.name}' for c in chain.filter.clusters)}")
    return " ".join(words)


def _route(route: Route) -> str:
    action = route.action
    if isinstance(action, ForwardAction):
        what = " ".join(f"{cluster.weight}*{cluster.name}" for cluster in action.clusters)
        what += f" timeout={action.timeout_seconds:g}" if action.timeout_seconds else ""
        what += f" retries={action.retry.attempts}" if action.retry is not None else ""
        what += f" rewrite={action.path_rewrite}" if action.path_rewrite is not None else ""
    elif isinstance(action, RedirectAction):
        what = f"redirect {action}"
    elif isinstance(action, DirectResponse):
        what = f"answer {action.status}"
    else:
        what = "serve"
    fault = ""
    if route.fault is not None and route.fault.delay is not None:
        fault += f" delay={route.fault.delay.seconds:g}s/{route.fault.delay.percent:g}%"
    if route.fault is not None and route.fault.abort is not None:
        fault += f" abort={route.fault.abort.http_status}/{route.fault.abort.percent:g}%"
    return f"{_match(route.match)} -> {what}{fault}{f' <- {route.origin}' if route.origin is not None else ''}"


def _match(match: RouteMatch) -> str:
    words = [f"{match.path.kind.value} {match.path.value}"]
    words += [_header(header) for header in match.headers]
    words += [f"?{query.name}{'=' + query.value.value if query.value is not None else ''}" for query in match.query]
    return " ".join(words)


def _header(header: HeaderMatch) -> str:
    sign = "!" if header.invert else ""
    return (
        f"{sign}{header.name}"
        if header.value is None
        else f"{sign}{header.name}~{header.value.kind.value}:{header.value.value}"
    )


def _cluster(cluster: Cluster) -> str:
    words = ["cluster", cluster.name, cluster.discovery.value, cluster.protocol.value]
    words += [cluster.lb.value] if cluster.lb not in (LbPolicy.LEAST_REQUEST, LbPolicy.CLUSTER_PROVIDED) else []
    words += [f"from={cluster.bind_host}"] if cluster.bind_host else []
    words += [_tls(cluster.tls)] if cluster.tls is not None else []
    words += [f"{m.tls_mode or 'else'}:{_tls(m.tls) if m.tls is not None else 'plaintext'}" for m in cluster.tls_matches]
    return " ".join(words)


def _tls(tls: UpstreamTls) -> str:
    names = ",".join(name.value for name in tls.subject_alt_names)
    certificate = f" as={tls.certificate_name}" if tls.certificate_name else ""
    return f"sni={tls.sni}{certificate} alpn={','.join(tls.alpn)} of={names or '(anybody)'}"
