"""Snapshot to Envoy's `config_dump` JSON (`envoy.admin.v3.ConfigDump`), for the proxy's admin port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from mesh.model.listener import Listener
from mesh.model.route import RouteConfig
from mesh.model.snapshot import Snapshot
from mesh.xds.encode import encode_message
from mesh.xds.references import Model
from mesh.xds.version import version_of

_REDACTED = "W3JlZGFjdGVkXQ=="
""" "[redacted]" in base64: how Envoy shows private keys."""


def load_types() -> None:
    """Import every message type that our resources may hold, so that `Any` can be shown as JSON."""
    import mesh.xds.decode.cluster
    import mesh.xds.decode.listener
    import mesh.xds.encode.cluster
    import mesh.xds.encode.listener  # noqa: F401


def config_dump(snapshot: Snapshot, versions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object that `GET /config_dump` answers (field names as in the protobufs, as Envoy writes them).

    Args: versions: by resource name, as the control plane named them; by default a hash of the content.
    Private keys are redacted as Envoy does.
    """
    load_types()
    return {
        "configs": [
            _section("ClustersConfigDump", dynamic_active_clusters=_entries("cluster", snapshot.clusters, versions)),
            _section("EndpointsConfigDump", dynamic_endpoint_configs=_endpoints(snapshot, versions)),
            _section("ListenersConfigDump", dynamic_listeners=_listeners(snapshot.listeners, versions)),
            _section("RoutesConfigDump", **_routes(snapshot, versions)),
            _section("SecretsConfigDump", dynamic_active_secrets=_secrets(snapshot, versions)),
        ]
    }


def _section(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.admin.v3.{name}", **fields}


def _json(value: Model) -> tuple[dict[str, Any], str]:
    """(the resource with its type, hash of its content)."""
    message = encode_message(value)
    content = MessageToDict(message, preserving_proto_field_name=True)
    version = version_of(message.SerializeToString(deterministic=True))
    return {"@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}", **content}, version


def _entries(field: str, values: Mapping[str, Model], versions: Mapping[str, str] | None) -> list[dict[str, Any]]:
    entries = []
    for name, value in sorted(values.items()):
        content, version = _json(value)
        entries.append({"version_info": (versions or {}).get(name, version), field: content})
    return entries


def _endpoints(snapshot: Snapshot, versions: Mapping[str, str] | None) -> list[dict[str, Any]]:
    return _entries("endpoint_config", snapshot.endpoints, versions)


def _listeners(listeners: Mapping[str, Listener], versions: Mapping[str, str] | None) -> list[dict[str, Any]]:
    return [
        {"name": name, "active_state": entry}
        for name, entry in zip(sorted(listeners), _entries("listener", listeners, versions), strict=True)
    ]


def _routes(snapshot: Snapshot, versions: Mapping[str, str] | None) -> dict[str, Any]:
    """Those that came by RDS, and those inside listeners (Envoy: static)."""
    inline = [{"route_config": _json(config)[0]} for config in _inline(snapshot.listeners.values())]
    return {
        "dynamic_route_configs": _entries("route_config", snapshot.routes, versions),
        "static_route_configs": inline,
    }


def _inline(listeners: Iterable[Listener]) -> Iterable[RouteConfig]:
    for listener in listeners:
        chains = (*listener.chains, *([listener.default_chain] if listener.default_chain is not None else ()))
        managers = [*(getattr(chain, "filter", None) for chain in chains), listener.api]
        for manager in managers:
            config = getattr(manager, "route_config", None)
            if isinstance(config, RouteConfig):
                yield config


def _secrets(snapshot: Snapshot, versions: Mapping[str, str] | None) -> list[dict[str, Any]]:
    entries = _entries("secret", snapshot.secrets, versions)
    for name, entry in zip(sorted(snapshot.secrets), entries, strict=True):
        entry["name"] = name
        certificate = entry["secret"].get("tls_certificate")
        if certificate is not None:
            certificate["private_key"] = {"inline_bytes": _REDACTED}
    return entries
