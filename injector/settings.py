"""Settings: the mesh administrator's choices for injection, read strictly from the ConfigMap `triomesh-injector`.

Every error names the field by its path (`resources.limits.cpu`), so that a typo in a YAML file is one look away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import yaml

from injector.fields import BadField, Fields, quantity
from injector.proxy_config import ProxyConfig, concurrency_warning
from injector.selector import Selector, parse_selector

VERSION = "0.1.0"
SYSTEM_NAMESPACE = "triomesh-system"
# The control plane's own namespace is here so that a dead injector can always be restarted (istio#26380).
NEVER_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage", SYSTEM_NAMESPACE)


class NativeSidecar(Enum):
    """Whether the proxy runs as an init container with restartPolicy Always (Kubernetes ≥ 1.29)."""

    AUTO = "auto"  # on when the API server is 1.33 or newer, where every supported kubelet has it
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Resources:
    """Kubernetes quantities by resource name, as written."""

    requests: tuple[tuple[str, str], ...] = (("cpu", "100m"), ("memory", "128Mi"))
    limits: tuple[tuple[str, str], ...] = (("cpu", "2000m"), ("memory", "1024Mi"))
    # What the proxy reserves when the pod is of class Guaranteed: requests must equal limits then, and neither a
    # tenth of a core as a ceiling nor two cores reserved per pod would be sensible.
    guaranteed: tuple[tuple[str, str], ...] = (("cpu", "500m"), ("memory", "256Mi"))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the injector needs to know beside the pod. Replaced whole when the ConfigMap changes."""

    proxy_image: str = f"triomesh/proxy:{VERSION}"
    init_image: str = f"triomesh/init:{VERSION}"
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    revision: str = "default"
    version: str = VERSION
    cluster_id: str = "Kubernetes"
    mesh_id: str = "cluster.local"
    # The policy for pods whose namespace opted in and that say nothing themselves.
    inject_by_default: bool = True
    native_sidecar: NativeSidecar = NativeSidecar.OFF
    native_available: bool = False
    merge_prometheus: bool = True
    rewrite_probes: bool = True
    resources: Resources = field(default_factory=Resources)
    proxy_config: ProxyConfig = field(default_factory=ProxyConfig)
    never_selectors: tuple[Selector, ...] = ()
    always_selectors: tuple[Selector, ...] = ()
    never_namespaces: tuple[str, ...] = NEVER_NAMESPACES
    # What in the ConfigMaps has no effect: for the log.
    warnings: tuple[str, ...] = ()


def parse_settings(text: str, mesh_text: str = "") -> Settings:
    """Settings from the ConfigMap `triomesh-injector`, key `config`; what is absent keeps its default.

    Args: mesh_text: ConfigMap `triomesh`, key `mesh`: its `defaultConfig` is the base of the proxies' configuration, on
        which `defaultConfig` of the injector's own ConfigMap is laid. Its telemetry is not: the control plane sends that.
    Raises: BadField: not YAML, an unknown field, a wrong type or value.
    """
    root = Fields.of(_yaml(text, "config"), "")
    default = Settings()
    images = root.child("images")
    mesh = _mesh_config(mesh_text)
    config = mesh.merged(root.mapping("defaultConfig"), "defaultConfig")
    native = root.enum("nativeSidecars", ("auto", "on", "off"), default.native_sidecar.value)
    settings = Settings(
        proxy_image=images.string("proxy", default.proxy_image),
        init_image=images.string("init", default.init_image),
        image_pull_policy=root.enum("imagePullPolicy", ("", "Always", "IfNotPresent", "Never"), ""),
        image_pull_secrets=root.strings("imagePullSecrets", ()),
        revision=root.string("revision", default.revision),
        cluster_id=root.string("clusterID", default.cluster_id),
        mesh_id=root.string("meshID", default.mesh_id),
        inject_by_default=root.enum("policy", ("enabled", "disabled"), "enabled") == "enabled",
        native_sidecar=NativeSidecar(native),
        merge_prometheus=root.boolean("enablePrometheusMerge", True),
        rewrite_probes=root.boolean("rewriteAppHTTPProbe", True),
        resources=_resources(root.child("resources")),
        proxy_config=config,
        never_selectors=_selectors(root, "neverInjectSelector"),
        always_selectors=_selectors(root, "alwaysInjectSelector"),
        # Added to, never replaced: nobody wants a proxy in kube-system by forgetting a line.
        never_namespaces=tuple(dict.fromkeys(NEVER_NAMESPACES + root.strings("neverInjectNamespaces", ()))),
        warnings=(
            *_concurrency(mesh, "mesh.defaultConfig"),
            *(_concurrency(config, "defaultConfig") if config.concurrency != mesh.concurrency else ()),
        ),
    )
    images.done()
    root.done()
    return settings


def with_server_version(settings: Settings, major: str, minor: str) -> Settings:
    """Settle `nativeSidecars: auto` by the API server's `/version` (minor may read "33+")."""
    digits = "".join(ch for ch in minor if ch.isdigit())
    new_enough = (int(major or 0), int(digits or 0)) >= (1, 33)
    return replace(settings, native_available=new_enough)


def _mesh_config(text: str) -> ProxyConfig:
    """The part of the mesh's configuration that a proxy must have at start; the rest is the control plane's to check."""
    root = Fields.of(_yaml(text, "mesh"), "mesh")
    config = ProxyConfig().merged(root.mapping("defaultConfig"), "mesh.defaultConfig")
    return replace(
        config, sampling_percent=None, otlp=None, access_log_path=None, access_log_format=None, mesh_otlp=config.otlp or ""
    )


def _concurrency(config: ProxyConfig, path: str) -> tuple[str, ...]:
    warning = concurrency_warning(config.concurrency)
    return (f"{path}.concurrency={config.concurrency}: {warning}",) if warning else ()


def _yaml(text: str, name: str) -> object:
    try:
        return yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as exc:
        raise BadField(name, f"is not YAML: {' '.join(str(exc).split())}") from exc


def _resources(fields: Fields) -> Resources:
    default = Resources()
    values = {}
    for name, before in (("requests", default.requests), ("limits", default.limits), ("guaranteed", default.guaranteed)):
        given = fields.mapping(name)
        values[name] = tuple((key, quantity(value, f"{fields.path(name)}.{key}")) for key, value in given.items()) or before
    fields.done()
    return Resources(**values)


def _selectors(root: Fields, name: str) -> tuple[Selector, ...]:
    return tuple(parse_selector(item, f"{name}[{index}]") for index, item in enumerate(root.items(name)))


def to_mapping(settings: Settings) -> Mapping[str, Any]:
    """The settings as the ConfigMap writes them: for `meshctl` and for the charts' own check."""
    return {
        "images": {"proxy": settings.proxy_image, "init": settings.init_image},
        "imagePullPolicy": settings.image_pull_policy,
        "imagePullSecrets": list(settings.image_pull_secrets),
        "revision": settings.revision,
        "clusterID": settings.cluster_id,
        "meshID": settings.mesh_id,
        "policy": "enabled" if settings.inject_by_default else "disabled",
        "nativeSidecars": settings.native_sidecar.value,
        "enablePrometheusMerge": settings.merge_prometheus,
        "rewriteAppHTTPProbe": settings.rewrite_probes,
        "resources": {name: dict(getattr(settings.resources, name)) for name in ("requests", "limits", "guaranteed")},
        "defaultConfig": settings.proxy_config.own_json(),
        "neverInjectSelector": [selector.to_json() for selector in settings.never_selectors],
        "alwaysInjectSelector": [selector.to_json() for selector in settings.always_selectors],
        "neverInjectNamespaces": list(settings.never_namespaces),
    }
