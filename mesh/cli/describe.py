"""Words for Envoy's JSON: what a route matches, where it leads, which object made it.

Reads the protobuf JSON of `config_dump` (Envoy's own spelling, snake_case), from our proxies or Envoy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One share of a route. percent of the route's weights; cluster "" for answers the proxy gives itself."""

    cluster: str
    weight: int
    percent: float

    @property
    def text(self) -> str:
        return cluster_text(self.cluster)


DUMPS: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "clusters": ("ClustersConfigDump", {"static_clusters": ("cluster",), "dynamic_active_clusters": ("cluster",)}),
    "listeners": ("ListenersConfigDump", {"static_listeners": ("listener",), "dynamic_listeners": ("active_state", "listener")}),
    "routes": ("RoutesConfigDump", {"static_route_configs": ("route_config",), "dynamic_route_configs": ("route_config",)}),
    "endpoints": ("EndpointsConfigDump", {"static_endpoint_configs": ("endpoint_config",), "dynamic_endpoint_configs": ("endpoint_config",)}),
    "secrets": ("SecretsConfigDump", {"static_secrets": ("secret",), "dynamic_active_secrets": ("secret",)}),
}


def sections(dump: Json, kind: str) -> Iterator[Json]:
    """The resources of one kind in a config dump.

    Args: kind: "clusters", "listeners", "routes", "endpoints" or "secrets". Static and active dynamic ones alike; warming ones are left out.
    """
    name, lists = DUMPS[kind]
    for config in dump.get("configs", []):
        if str(config.get("@type", "")).endswith(name):
            for key, path in lists.items():
                for entry in config.get(key, []):
                    found = _at(entry, path)
                    if found:
                        yield found


def origin_text(resource: Json) -> str:
    """The object a resource was made from, e.g. `VirtualService/default/reviews http[0]`; "" when none."""
    made = resource.get("metadata", {}).get("filter_metadata", {}).get("triomesh.io", {})
    if not made:
        return ""
    path = "/".join(made[key] for key in ("kind", "namespace", "name") if made.get(key))
    return f"{path} {made['rule']}" if made.get("rule") else path


def match_text(match: Json) -> str:
    """A route's condition in one line, e.g. `/static* header end-user=jason`."""
    parts = [_path(match)]
    for header in match.get("headers", []):
        name = header["name"]
        test = _string(header.get("string_match", {})) if "string_match" in header else " present"
        sign = "not " if header.get("invert_match") else ""
        parts.append(f"{sign}{name[1:] if name.startswith(':') else 'header ' + name}{test}")
    for query in match.get("query_parameters", []):
        test = _string(query["string_match"]) if "string_match" in query else " present"
        parts.append(f"query {query['name']}{test}")
    return " ".join(parts)


def targets(route: Json) -> list[Target]:
    """Where a route leads."""
    action = route.get("route")
    if action is None:
        return [Target("", 0, 100.0)]
    if "cluster" in action:
        return [Target(action["cluster"], 1, 100.0)]
    shares = [(share["name"], int(share.get("weight", 0))) for share in action.get("weighted_clusters", {}).get("clusters", [])]
    total = sum(weight for _, weight in shares) or 1
    return [Target(name, weight, 100.0 * weight / total) for name, weight in shares]


def action_text(route: Json) -> str:
    """What happens to a matched request, for rows that have no cluster."""
    if "redirect" in route:
        redirect = route["redirect"]
        code = {"MOVED_PERMANENTLY": 301, "FOUND": 302, "SEE_OTHER": 303, "TEMPORARY_REDIRECT": 307, "PERMANENT_REDIRECT": 308}
        return f"redirect {code.get(redirect.get('response_code', 'MOVED_PERMANENTLY'), '')}"
    if "direct_response" in route:
        return f"answer {route['direct_response'].get('status', '')}"
    if "non_forwarding_action" in route:
        return "not forwarded"
    return " ".join(target.text for target in targets(route))


def tls_text(socket: Json) -> str:
    """`mesh` for TLS with the proxy's own identity, `own` for any other, `-` for none. Args: socket: a `transport_socket`."""
    config = socket.get("typed_config", {})
    if not str(config.get("@type", "")).endswith("TlsContext"):
        return "-"
    certificates = config.get("common_tls_context", {}).get("tls_certificate_sds_secret_configs", [])
    return "mesh" if any(entry.get("name") == "default" for entry in certificates) else "own"


def upstream_tls_text(cluster: Json) -> str:
    """As `tls_text`; `auto` = mesh TLS with those endpoints that offer it."""
    matches = cluster.get("transport_socket_matches", [])
    if any(tls_text(match.get("transport_socket", {})) == "mesh" for match in matches):
        return "auto"
    return tls_text(cluster.get("transport_socket", {}))


def cluster_text(name: str) -> str:
    """`outbound|9080|v1|reviews.default.svc.cluster.local` -> `reviews.default.svc.cluster.local:9080 (v1)`."""
    parts = name.split("|")
    if len(parts) != 4 or not parts[3]:
        return name
    return f"{parts[3]}:{parts[1]}" + (f" ({parts[2]})" if parts[2] else "")


def _at(entry: Json, path: tuple[str, ...]) -> Json:
    for part in path:
        entry = entry.get(part, {})
    return entry


def _path(match: Json) -> str:
    fold = "" if match.get("case_sensitive", True) else " (any case)"
    if "path" in match:
        return f"{match['path']}{fold}"
    if "prefix" in match:
        return f"{match['prefix']}*{fold}"
    if "path_separated_prefix" in match:
        return f"{match['path_separated_prefix']}[/*]{fold}"
    if "safe_regex" in match:
        return f"~{match['safe_regex'].get('regex', '')}"
    return "*"


def _string(match: Json) -> str:
    fold = " (any case)" if match.get("ignore_case") else ""
    for key, sign, tail in (("exact", "=", ""), ("prefix", "=", "*"), ("suffix", "=*", ""), ("contains", "=*", "*")):
        if key in match:
            return f"{sign}{match[key]}{tail}{fold}"
    return f"~{match.get('safe_regex', {}).get('regex', '')}"
