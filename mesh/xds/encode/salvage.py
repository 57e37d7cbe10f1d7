"""Salvage: a route configuration without the routes that no Envoy would take, so that one of them does not cost the others."""

from __future__ import annotations

from dataclasses import replace

from mesh.model.route import DirectResponse, Route, RouteConfig, VirtualHost
from mesh.xds.encode.common import Path
from mesh.xds.encode.route import encode_route, encode_route_config
from mesh.xds.error import EncodeError

_BROKEN = DirectResponse(500, b"the configuration of this route is not valid; see the status of its object\n")
"""What the proxy itself answers for a route that it cannot compile."""


def salvage(value: RouteConfig) -> tuple[RouteConfig, tuple[EncodeError, ...]]:
    """What can be sent of a configuration, and what is wrong with the rest; each error's message names the route's object.

    A route whose action is bad answers 500; one whose match is bad is left out, and so is a virtual host that is bad itself.
    """
    errors: list[EncodeError] = []
    path = Path(value.name)
    hosts = (_host(host, value, path.at("virtual_hosts", i), errors) for i, host in enumerate(value.virtual_hosts))
    return replace(value, virtual_hosts=tuple(host for host in hosts if host is not None)), tuple(errors)


def _host(host: VirtualHost, config: RouteConfig, path: Path, errors: list[EncodeError]) -> VirtualHost | None:
    routes = []
    for i, route in enumerate(host.routes):
        error = _error(route, config, path.at("routes", i))
        if error is None:
            routes.append(route)
            continue
        errors.append(error)
        broken = Route(route.match, _BROKEN, route.name, origin=route.origin, operation=route.operation)
        if _error(broken, config, path) is None:
            routes.append(broken)
    rest = replace(host, routes=tuple(routes))
    try:
        encode_route_config(replace(config, virtual_hosts=(replace(rest, routes=()),))).SerializeToString()
    except ValueError as exc:
        errors.append(path.error("", exc.message if isinstance(exc, EncodeError) else str(exc)))
        return None
    return rest


def _error(route: Route, config: RouteConfig, path: Path) -> EncodeError | None:
    try:
        encode_route(route, config.max_direct_response_bytes, path).SerializeToString()
    except (TypeError, ValueError) as exc:  # the latter two are protobuf's own, of a string that is not UTF-8
        field, message = (exc.field, exc.message) if isinstance(exc, EncodeError) else (str(path), str(exc))
        return EncodeError(config.name, field, f"{message} ({route.origin})" if route.origin is not None else message)
    return None
