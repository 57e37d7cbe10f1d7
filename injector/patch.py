"""Patch: a pod in, the injected pod out, and the JSONPatch between the two.

`inject` first takes out whatever an earlier injection put in (the status annotation lists it) and then injects
afresh, so that injecting twice is injecting once, and a template copied from a running pod comes out right.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from injector import jsonpatch, keys, pod, probes, request, shape, sidecar
from injector.merge import merge_container
from injector.pod import BadPod, Json, Workload
from injector.request import Request, Template
from injector.settings import Settings

_DEFAULT_CONTAINER = ("kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_PROMETHEUS = {"scrape": "prometheus.io/scrape", "port": "prometheus.io/port", "path": "prometheus.io/path"}
_MERGED_METRICS = {"scrape": "true", "port": "15020", "path": "/stats/prometheus"}
_UNPRIVILEGED = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}


@dataclass(frozen=True, slots=True)
class Injected:
    """The outcome: the whole pod, and what the user should hear."""

    pod: Json
    warnings: tuple[str, ...] = ()


def patch(pod_object: Json, namespace: str, settings: Settings) -> tuple[list[jsonpatch.Operation], tuple[str, ...]]:
    """The JSONPatch that injects this pod, and warnings. Raises: BadPod: it cannot be injected as asked."""
    done = inject(pod_object, namespace, settings)
    return jsonpatch.diff(pod_object, done.pod), done.warnings


def inject(pod_object: Json, namespace: str, settings: Settings, owner: Workload | None = None) -> Injected:
    """The pod with its sidecar (or, for the gateway template, with its proxy).

    Args: owner: the workload, when the caller knows it better than the pod's own references (offline injection).
    Raises: BadPod: an annotation that cannot be honoured or an object that cannot be read; nothing is half done.
    """
    shape.check(pod_object)
    original = strip(pod_object)
    shape.check(original)
    base, overrides = _take_partials(original)
    wish = request.read(base, settings)
    owner = owner or pod.workload(base, namespace)
    apps, probers = _rewrite_probes(base, wish)
    added_labels = _labels(base, owner, wish)
    added_notes, replaced_notes, scrape = _annotations(base, wish, settings)
    identity = sidecar.Identity(
        namespace=namespace,
        workload=owner,
        labels={**pod.labels(base), **added_labels},
        annotations={key: value for key, value in pod.annotations(base).items() if key != _LAST_APPLIED},
        service_account=pod.spec(base).get("serviceAccountName") or "default",
        app_containers=tuple(item["name"] for item in pod.containers(base)),
    )
    proxy = sidecar.proxy_container(wish, identity, probers, scrape, settings)
    proxy = _over(proxy, overrides["containers"] + [o for o in overrides["initContainers"] if o["name"] == proxy["name"]])
    setup = sidecar.init_container(wish, settings)
    if setup is not None:
        setup = _over(setup, [o for o in overrides["initContainers"] if o["name"] == setup["name"]])
    spec = _spec(base, apps, proxy, setup, wish, settings)
    status = _status(base, spec, added_labels, added_notes, settings)
    if replaced_notes:
        overrides["annotations"] = replaced_notes
    if wish.template is Template.GATEWAY:
        overrides["securityContext"] = pod.spec(base).get("securityContext")
    notes = {**pod.annotations(base), **added_notes, keys.STATUS: _compact(status)}
    if any(overrides.values()) or "securityContext" in overrides:
        notes[keys.OVERRIDES] = _compact({key: value for key, value in overrides.items() if value or key == "securityContext"})
    meta = {**pod.metadata(base), "labels": {**pod.labels(base), **added_labels}, "annotations": notes}
    return Injected({**base, "metadata": meta, "spec": spec}, wish.warnings + _same_user(base))


def strip(pod_object: Json) -> Json:
    """The pod as it was before injection; the same object when it never was.

    Raises: BadPod: the status annotation is there and cannot be read.
    """
    notes = dict(pod.annotations(pod_object))
    if keys.STATUS not in notes:
        return pod_object
    status, overrides = _json_annotation(notes, keys.STATUS), _json_annotation(notes, keys.OVERRIDES)
    spec, meta = dict(pod.spec(pod_object)), dict(pod.metadata(pod_object))
    shape.check_overrides(overrides, f"annotation {keys.OVERRIDES}")
    probers = _probers_of(pod_object)
    for field in ("containers", "initContainers", "volumes", "imagePullSecrets"):
        gone = set(_names(status, field))
        kept = [item for item in spec.get(field) or [] if item.get("name") not in gone]
        if field in ("containers", "initContainers"):
            kept = [probes.restore(item, probers) for item in kept] + list(overrides.get(field) or [])
        if kept or field == "containers":
            spec[field] = kept
        else:
            spec.pop(field, None)
    if "securityContext" in overrides:
        spec.pop("securityContext", None)
        if overrides["securityContext"] is not None:
            spec["securityContext"] = overrides["securityContext"]
    for key in [keys.STATUS, keys.OVERRIDES, *_names(status, "annotations")]:
        notes.pop(key, None)
    notes |= overrides.get("annotations") or {}
    marks = {key: value for key, value in pod.labels(pod_object).items() if key not in _names(status, "labels")}
    for key, value in (("labels", marks), ("annotations", notes)):
        meta[key] = value
        if not value:
            del meta[key]
    return {**pod_object, "metadata": meta, "spec": spec}


def _take_partials(original: Json) -> tuple[Json, dict[str, Any]]:
    """Take the user's own `triomesh-proxy`/`istio-proxy` (and init) containers out: they customise ours."""
    overrides: dict[str, Any] = {"containers": [], "initContainers": []}
    spec = dict(pod.spec(original))
    for field in ("containers", "initContainers"):
        items = pod.containers(original, field)
        names = {keys.PROXY_CONTAINER, keys.INIT_CONTAINER, *keys.CONTAINER_ALIASES}
        for item in items:
            if item["name"] in names:
                overrides[field].append(item)
        if overrides[field]:
            spec[field] = [item for item in items if item["name"] not in names]
            if not spec[field] and field == "initContainers":
                del spec[field]
    return ({**original, "spec": spec} if overrides["containers"] or overrides["initContainers"] else original), overrides


def _over(container: Json, partials: list[Json]) -> Json:
    for partial in partials:
        if keys.CONTAINER_ALIASES.get(partial["name"], partial["name"]) == container["name"]:
            container = merge_container(container, partial)
    return container


def _rewrite_probes(base: Json, wish: Request) -> tuple[dict[str, list[Json]], Json]:
    """(containers and initContainers, path → prober). Init containers have probes only when they are native sidecars."""
    apps = {field: pod.containers(base, field) for field in ("containers", "initContainers")}
    probers: Json = {}
    if not wish.rewrite_probes or wish.template is Template.GATEWAY:
        return apps, probers
    for field, items in apps.items():
        rewritten = []
        for item in items:
            container, found = probes.rewrite(item)
            rewritten.append(container)
            probers |= found
        apps[field] = rewritten
    return apps, probers


def _labels(base: Json, owner: Workload, wish: Request) -> dict[str, str]:
    name, revision = pod.canonical_labels(base, owner.name)
    wanted = {keys.CANONICAL_NAME: name, keys.CANONICAL_REVISION: revision}
    if _answers_mutual_tls(wish):
        wanted[keys.TLS_MODE] = "istio"
    elif pod.labels(base).get(keys.TLS_MODE) == "istio":
        raise BadPod(
            f"metadata.labels.{keys.TLS_MODE}: says istio, and nothing in this pod would answer mutual TLS: its proxy has no"
            " certificate or is given no inbound traffic; remove the label"
        )
    return {key: value for key, value in wanted.items() if value and key not in pod.labels(base)}


def _answers_mutual_tls(wish: Request) -> bool:
    """Whether what comes to the application's ports meets a proxy with a certificate. A gateway's listeners are the user's own."""
    takes_inbound = wish.capture is not None and wish.capture.include_inbound_ports != ()
    return wish.config.has_identity and wish.template is Template.SIDECAR and takes_inbound


def _annotations(base: Json, wish: Request, settings: Settings) -> tuple[dict[str, str], dict[str, str], Json]:
    """(all annotations to set, the user's values that they replace, the application's own scrape annotations)."""
    before = pod.annotations(base)
    added = {"triomesh.io/rev": settings.revision} if "triomesh.io/rev" not in before else {}
    apps = pod.containers(base)
    if apps:
        added |= {key: apps[0]["name"] for key in _DEFAULT_CONTAINER if key not in before}
    own = {word: before[key] for word, key in _PROMETHEUS.items() if key in before}
    scrape: Json = {}
    if wish.merge_prometheus and own.get("scrape", "true") == "true" and own.get("port") != _MERGED_METRICS["port"]:
        added |= {key: _MERGED_METRICS[word] for word, key in _PROMETHEUS.items()}
        # Only who asked to be scraped is: the proxy must not poll applications that have no metrics.
        scrape = {"scrape": "true", "port": own.get("port", "80"), "path": own.get("path", "/metrics")} if "scrape" in own else {}
    return added, {key: before[key] for key in added if key in before}, scrape


def _spec(
    base: Json, apps: dict[str, list[Json]], proxy: Json, setup: Json | None, wish: Request, settings: Settings
) -> Json:
    """Order. Classic: the application's init containers run before interception starts, so that they have a network;
    native: interception and proxy come first, so that init containers are in the mesh too.
    """
    spec = dict(pod.spec(base))
    ours = [setup] if setup else []
    if wish.native:
        spec["initContainers"] = [*ours, proxy, *apps["initContainers"]]
        spec["containers"] = apps["containers"]
    else:
        spec["initContainers"] = [*apps["initContainers"], *ours]
        first = wish.config.hold_application or wish.template is Template.GATEWAY
        spec["containers"] = [proxy, *apps["containers"]] if first else [*apps["containers"], proxy]
    if not spec["initContainers"]:
        del spec["initContainers"]
    ours_too = [*sidecar.volumes(wish), *wish.volumes]
    taken = {item["name"] for item in spec.get("volumes") or []}
    if clash := [item["name"] for item in ours_too if item["name"] in taken]:
        raise BadPod(f"spec.volumes: {clash[0]!r} is to be added for the proxy, and the pod already has a volume of that name")
    spec["volumes"] = [*(spec.get("volumes") or []), *ours_too]
    present = {item.get("name") for item in spec.get("imagePullSecrets") or []}
    if secrets := [{"name": name} for name in settings.image_pull_secrets if name not in present]:
        spec["imagePullSecrets"] = [*(spec.get("imagePullSecrets") or []), *secrets]
    if wish.template is Template.GATEWAY:
        # A gateway may be asked to listen on 80 and 443, and its proxy has no capability to.
        context = dict(spec.get("securityContext") or {})
        if all(item.get("name") != _UNPRIVILEGED["name"] for item in context.get("sysctls") or []):
            spec["securityContext"] = {**context, "sysctls": [*(context.get("sysctls") or []), _UNPRIVILEGED]}
    return spec


def _status(base: Json, spec: Json, labels: Mapping[str, str], notes: Mapping[str, str], settings: Settings) -> Json:
    def added(field: str) -> list[str]:
        before = {item.get("name") for item in pod.spec(base).get(field) or []}
        return [item["name"] for item in spec.get(field) or [] if item["name"] not in before]

    lists = {field: added(field) for field in ("initContainers", "containers", "volumes", "imagePullSecrets")}
    return {**lists, "labels": sorted(labels), "annotations": sorted(notes), "revision": settings.revision}


def _same_user(base: Json) -> tuple[str, ...]:
    """Warn of containers that run as the proxy's user: their traffic is not captured (Istio IST0144)."""
    inherited = (pod.spec(base).get("securityContext") or {}).get("runAsUser")
    found = []
    for item in pod.containers(base):
        if (item.get("securityContext") or {}).get("runAsUser", inherited) == sidecar.UID:
            found.append(f"container {item['name']} runs as user {sidecar.UID}, the proxy's: its traffic is not captured")
    return tuple(found)


def _probers_of(pod_object: Json) -> Mapping[str, Any]:
    for item in [*pod.containers(pod_object), *pod.containers(pod_object, "initContainers")]:
        for variable in (item.get("env") or []) if item["name"] == keys.PROXY_CONTAINER else []:
            if variable.get("name") == "TRIOMESH_APP_PROBERS":
                try:
                    value = sidecar.literal_value(variable.get("value") or "{}")
                except ValueError as exc:
                    raise BadPod(f"container {item['name']}: env TRIOMESH_APP_PROBERS is not JSON: {exc}") from exc
                shape.check_probers(value, f"container {item['name']}: env TRIOMESH_APP_PROBERS")
                return dict(value)
    return {}


def _json_annotation(notes: Mapping[str, str], key: str) -> Json:
    try:
        value = json.loads(notes.get(key) or "{}")
    except ValueError as exc:
        raise BadPod(f"annotation {key}: is not JSON: {exc}; remove it to have the pod injected afresh") from exc
    if not isinstance(value, dict):
        raise BadPod(f"annotation {key}: must be a JSON object")
    return value


def _names(status: Json, field: str) -> list[str]:
    value = status.get(field) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadPod(f"annotation {keys.STATUS}: {field} must be a list of names")
    return value


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
