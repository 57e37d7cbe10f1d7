"""Discovery: which groups, versions and resources there are, in the legacy and the aggregated form. Pure.

Source: API concepts, "API Discovery"; `APIGroupDiscoveryList` of apidiscovery.k8s.io/v2.
"""

from __future__ import annotations

from typing import Any

from mesh.sandbox.apiserver.registry import ALL_VERBS, Registry, Resource

Obj = dict[str, Any]

SUBRESOURCE_VERBS = {
    "attach": ["create", "get"], "exec": ["create", "get"], "portforward": ["create", "get"], "log": ["get"], "binding": ["create"],
    "eviction": ["create"], "ephemeralcontainers": ["get", "patch", "update"], "resize": ["get", "patch", "update"], "token": ["create"], "finalize": ["update"],
    "proxy": ["create", "delete", "get", "patch", "update"], "status": ["get", "patch", "update"], "scale": ["get", "patch", "update"],
}  # fmt: skip
SUBRESOURCE_KINDS = {
    "attach": ("", "v1", "PodAttachOptions"), "exec": ("", "v1", "PodExecOptions"), "portforward": ("", "v1", "PodPortForwardOptions"),
    "binding": ("", "v1", "Binding"), "eviction": ("policy", "v1", "Eviction"), "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "scale": ("autoscaling", "v1", "Scale"),
}  # fmt: skip
# Groups are listed in this order of preference; custom ones follow by name.
ORDER = ("", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch", "networking.k8s.io", "policy",
         "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io",
         "coordination.k8s.io", "discovery.k8s.io")  # fmt: skip


def groups(registry: Registry) -> dict[str, dict[str, list[Resource]]]:
    """group → version → resources, in the order in which clients should prefer them."""
    found: dict[str, dict[str, list[Resource]]] = {}
    for resource in registry.all():
        found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    ordered = sorted(found, key=lambda g: (ORDER.index(g) if g in ORDER else len(ORDER), g))
    return {group: dict(sorted(found[group].items(), key=lambda item: version_rank(item[0]))) for group in ordered}


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sort key, best first: v2, v1, v1beta2, v1beta1, v1alpha1, others by name. Source: CRD versioning, "Version priority"."""
    head, _, rest = version.removeprefix("v").partition("beta") if "beta" in version else version.removeprefix("v").partition("alpha")
    if not version.startswith("v") or not head.isdigit() or (rest and not rest.isdigit()):
        return (3, 0, 0, version)
    stage = 1 if "beta" in version else 2 if "alpha" in version else 0
    return (stage, -int(head), -int(rest or 0), "")


def subresources(resource: Resource) -> list[str]:
    """Names of everything below `/{name}/`."""
    found = list(resource.subresources)
    if resource.has_status:
        found.append("status")
    if resource.scale:
        found.append("scale")
    return sorted(found)


def legacy_root(address: str) -> Obj:
    """`/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]}


def group_list(registry: Registry) -> Obj:
    """`/apis`."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(registry, name) for name in groups(registry) if name]}


def group(registry: Registry, name: str) -> Obj:
    """`/apis/{group}` (or an element of `/apis`). Raises: KeyError: no such group."""
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in groups(registry)[name]]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(registry: Registry, group_name: str, version: str) -> Obj:
    """`/api/v1`, `/apis/{group}/{version}`. Raises: KeyError: not served."""
    entries: list[Obj] = []
    found = groups(registry)[group_name][version]
    for r in sorted(found, key=lambda r: r.plural):
        entry: Obj = {"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": list(r.verbs)}
        if r.short_names:
            entry["shortNames"] = list(r.short_names)
        if r.categories:
            entry["categories"] = list(r.categories)
        entries.append(entry)
        for name in subresources(r):
            g, v, kind = SUBRESOURCE_KINDS.get(name, ("", "", r.kind))
            below: Obj = {"name": f"{r.plural}/{name}", "singularName": "", "namespaced": r.namespaced, "kind": kind, "verbs": SUBRESOURCE_VERBS[name]}
            if g and g != group_name:
                below |= {"group": g, "version": v}
            entries.append(below)
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group_name}/{version}" if group_name else version, "resources": entries}


def aggregated(registry: Registry, core: bool, version: str) -> Obj:
    """`/api` (core) or `/apis` as `APIGroupDiscoveryList`; `version` is v2 or v2beta1."""
    items = []
    for name, versions in groups(registry).items():
        if bool(name) is core:
            continue
        made = [{"version": v, "resources": [_aggregated(r) for r in sorted(rs, key=lambda r: r.plural)], "freshness": "Current"} for v, rs in versions.items()]
        items.append({"metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None}, "versions": made})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}, "items": items}


def _aggregated(r: Resource) -> Obj:
    def response_kind(group: str, version: str, kind: str) -> Obj:
        # Of the list's own group and version nothing is said, as kube-apiserver does.
        own = group in ("", r.group)
        return {"group": "" if own else group, "version": "" if own else version, "kind": kind}

    entry: Obj = {"resource": r.plural, "responseKind": response_kind(r.group, r.version, r.kind), "scope": "Namespaced" if r.namespaced else "Cluster",
                  "singularResource": r.singular, "verbs": list(r.verbs or ALL_VERBS)}  # fmt: skip
    if r.short_names:
        entry["shortNames"] = list(r.short_names)
    if r.categories:
        entry["categories"] = list(r.categories)
    names = subresources(r)
    if names:
        entry["subresources"] = [
            {"subresource": n, "responseKind": response_kind(*SUBRESOURCE_KINDS.get(n, (r.group, r.version, r.kind))), "verbs": SUBRESOURCE_VERBS[n]} for n in names
        ]
    return entry
