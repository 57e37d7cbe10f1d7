"""Static configuration: an Envoy bootstrap's `static_resources`, YAML or JSON, to a Snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mesh.model.cluster import Cluster
from mesh.model.listener import Listener
from mesh.model.secret import Secret
from mesh.model.snapshot import Snapshot
from mesh.xds.decode import decode_message
from mesh.xds.error import DecodeError
from mesh.xds.kind import Kind
from mesh.xds.references import references

_SECTIONS = {Kind.CLUSTER: "clusters", Kind.LISTENER: "listeners", Kind.SECRET: "secrets"}
_IGNORED = frozenset(
    # Of the process, not of what it serves: ours takes these from its own environment.
    {"admin", "node", "stats_config", "layered_runtime", "overload_manager", "static_resources"}
)


def load_bootstrap(text: str) -> Snapshot:
    """Args: text: YAML (or JSON, which is YAML) of `envoy.config.bootstrap.v3.Bootstrap`.

    Raises: DecodeError naming the resource and field.
    """
    document = _parse(text)
    for key in document:
        if key not in _IGNORED:
            raise DecodeError("bootstrap", key, "is not supported; only static_resources is")
    static = document.get("static_resources")
    if not isinstance(static, dict):
        raise DecodeError("bootstrap", "static_resources", "is missing or not an object")
    for key in static:
        if key not in _SECTIONS.values():
            raise DecodeError("bootstrap", f"static_resources.{key}", "is not supported")
    clusters: dict[str, Cluster] = {}
    listeners: dict[str, Listener] = {}
    secrets: dict[str, Secret] = {}
    for kind, section in _SECTIONS.items():
        entries = static.get(section)
        entries = [] if entries is None else entries
        if not isinstance(entries, list):
            raise DecodeError("bootstrap", f"static_resources.{section}", "is not a list")
        for i, entry in enumerate(entries):
            value = decode_message(kind, _message(kind, entry, f"static_resources.{section}[{i}]"))
            match value:
                case Cluster():
                    clusters[value.name] = value
                case Listener():
                    # Envoy lets static listeners go without a name.
                    named = value if value.name else replace(value, name=f"listener_{i}")
                    listeners[named.name] = named
                case Secret():
                    secrets[value.name] = value
    for cluster in clusters.values():
        _check_static(cluster, secrets)
    for listener in listeners.values():
        _check_static(listener, secrets)
    return Snapshot(clusters, {}, listeners, {}, secrets)


def _check_static(value: Cluster | Listener, secrets: dict[str, Secret]) -> None:
    """Nothing may be asked of a control plane: there is none."""
    for kind, name in sorted(references(value), key=lambda ref: ref[1]):
        if kind in (Kind.ENDPOINT, Kind.ROUTE):
            raise DecodeError(value.name, "", f"asks for {kind.label} {name!r}, which a static configuration has not")
        if kind is Kind.SECRET and name not in secrets:
            raise DecodeError(value.name, "", f"names secret {name!r}, which static_resources.secrets has not")


def _parse(text: str) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise DecodeError("bootstrap", "", f"is not YAML: {exc}") from exc
    if not isinstance(document, dict):
        raise DecodeError("bootstrap", "", "is not an object")
    return document


def _message(kind: Kind, entry: Any, path: str) -> Any:
    """One resource from its JSON form, with any `typed_config` inside."""
    from google.protobuf.json_format import ParseDict, ParseError

    from mesh.xds.decode import message_class
    from mesh.xds.dump import load_types

    if not isinstance(entry, dict):
        raise DecodeError("bootstrap", path, "is not an object")
    load_types()
    message = message_class(kind)()
    try:
        ParseDict(entry, message)
    except (ParseError, TypeError) as exc:
        raise DecodeError(str(entry.get("name", "bootstrap")), path, str(exc)) from exc
    return message
