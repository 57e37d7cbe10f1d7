"""RBAC: may this user do that? The evaluator of Role, ClusterRole and their bindings, and the roles a cluster starts with.

Source: "Using RBAC Authorization". `system:masters` may do everything. Rules only add; there is no deny.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.sandbox.apiserver.authn import User
from mesh.sandbox.apiserver.storage import Change, Key, Obj, Store

GROUP = "rbac.authorization.k8s.io"
ROLES, CLUSTER_ROLES = f"roles.{GROUP}", f"clusterroles.{GROUP}"
BINDINGS, CLUSTER_BINDINGS = f"rolebindings.{GROUP}", f"clusterrolebindings.{GROUP}"

Rule = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked: a resource (`plural` set) or a non-resource path."""

    verb: str
    group: str = ""
    plural: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def describe(self, user: User) -> str:
        """The sentence of a 403."""
        if self.path:
            return f'User "{user.name}" cannot {self.verb} path "{self.path}"'
        what = f"{self.plural}/{self.subresource}" if self.subresource else self.plural
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'User "{user.name}" cannot {self.verb} resource "{what}" in API group "{self.group}" {where}'


class Authorizer:
    """Rules of each user, cached until any RBAC object changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: dict[tuple[str, tuple[str, ...]], list[tuple[str, Rule]]] = {}
        store.on_change.append(self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.key.resource.endswith(GROUP):
            self._cache.clear()

    def allows(self, user: User, attributes: Attributes) -> bool:
        """Whether any rule of the user grants it."""
        if "system:masters" in user.groups:
            return True
        return any(rule_allows(rule, attributes) for scope, rule in self.rules(user) if not scope or (scope == attributes.namespace and attributes.plural))

    def rules(self, user: User) -> list[tuple[str, Rule]]:
        """(namespace or "" for everywhere, rule) pairs of the user."""
        key = (user.name, user.groups)
        if key not in self._cache:
            if len(self._cache) > 1000:
                self._cache.clear()
            self._cache[key] = list(self._find(user))
        return self._cache[key]

    def _find(self, user: User) -> Iterator[tuple[str, Rule]]:
        for _, stored in self._store.items(CLUSTER_BINDINGS):
            if _binds(stored.obj, user):
                yield from (("", rule) for rule in self._role_rules(stored.obj["roleRef"], ""))
        for (namespace, _), stored in self._store.items(BINDINGS):
            if _binds(stored.obj, user):
                yield from ((namespace, rule) for rule in self._role_rules(stored.obj["roleRef"], namespace))

    def _role_rules(self, ref: Mapping[str, str], namespace: str) -> list[Rule]:
        key = Key(CLUSTER_ROLES, "", ref["name"]) if ref["kind"] == "ClusterRole" else Key(ROLES, namespace, ref["name"])
        role = self._store.get(key)
        return (role.obj.get("rules") or []) if role else []


def _binds(binding: Obj, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        match subject["kind"]:
            case "User" if subject["name"] == user.name:
                return True
            case "Group" if subject["name"] in user.groups:
                return True
            case "ServiceAccount":
                namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
                if user.name == f"system:serviceaccount:{namespace}:{subject['name']}":
                    return True
    return False


def rule_allows(rule: Rule, a: Attributes) -> bool:
    """Whether one PolicyRule grants `a`."""
    verbs = rule.get("verbs") or ()
    if a.verb not in verbs and "*" not in verbs:
        return False
    if a.path:
        return any(p == "*" or p == a.path or (p.endswith("*") and a.path.startswith(p[:-1])) for p in rule.get("nonResourceURLs") or ())
    groups, resources, names = rule.get("apiGroups") or (), rule.get("resources") or (), rule.get("resourceNames") or ()
    if "*" not in groups and a.group not in groups:
        return False
    wanted = {"*", f"{a.plural}/{a.subresource}", f"*/{a.subresource}"} if a.subresource else {"*", a.plural}
    return not wanted.isdisjoint(resources) and (not names or a.name in names)


def bootstrap() -> list[Obj]:
    """The ClusterRoles and bindings of a new cluster, less what has no meaning in the sandbox."""
    read = ["get", "list", "watch"]
    write = ["create", "delete", "deletecollection", "patch", "update"]
    core = ["configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "services", "serviceaccounts"]
    workloads: list[Rule] = [
        _rule(["apps"], ["*"], []), _rule(["batch"], ["*"], []), _rule(["networking.k8s.io"], ["ingresses", "networkpolicies"], []),
        _rule(["policy"], ["poddisruptionbudgets"], []), _rule(["autoscaling"], ["*"], []), _rule(["discovery.k8s.io"], ["endpointslices"], []),
    ]  # fmt: skip
    views = [_rule([""], [*core, "pods/log", "pods/status", "namespaces"], read), *({**r, "verbs": read} for r in workloads)]
    edits = [
        *views, _rule([""], [*core, "secrets", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"], [*read, *write]),
        _rule([""], ["serviceaccounts/token", "pods/eviction"], ["create"]), *({**r, "verbs": [*read, *write]} for r in workloads),
    ]  # fmt: skip
    admins = [*edits, _rule([GROUP], ["roles", "rolebindings"], [*read, *write])]
    paths = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]
    info = {"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}
    selfs = [_rule(["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]), _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"])]
    issuer = {"nonResourceURLs": ["/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"], "verbs": ["get"]}
    delegator = [_rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]), _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"])]
    return [
        _role("cluster-admin", [_rule(["*"], ["*"], ["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]),
        _role("admin", admins), _role("edit", edits), _role("view", views),
        _role("system:discovery", [{"nonResourceURLs": paths, "verbs": ["get"]}]),
        _role("system:public-info-viewer", [info]),
        _role("system:basic-user", selfs),
        _role("system:auth-delegator", delegator),
        _role("system:service-account-issuer-discovery", [issuer]),
        _binding("cluster-admin", "system:masters"), _binding("system:discovery", "system:authenticated"),
        _binding("system:basic-user", "system:authenticated"), _binding("system:public-info-viewer", "system:authenticated", "system:unauthenticated"),
        _binding("system:service-account-issuer-discovery", "system:serviceaccounts"),
    ]  # fmt: skip


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


def _meta(name: str) -> Obj:
    return {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}


def _role(name: str, rules: list[Any]) -> Obj:
    return {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": _meta(name), "rules": rules}


def _binding(role: str, *groups: str) -> Obj:
    subjects = [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups]
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": role}
    return {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRoleBinding", "metadata": _meta(role), "roleRef": ref, "subjects": subjects}
