"""Printer columns of the built-in kinds: what `kubectl get` shows for each. Pure.

A row of `PRINTERS` is the columns (a trailing `*` marks those of `-o wide`) and the function from (object, now) to their cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from mesh.sandbox.apiserver.humanize import age, duration
from mesh.sandbox.apiserver.podcolumns import pod_cells
from mesh.sandbox.apiserver.registry import Column
from mesh.sandbox.apiserver.selectors import format_selector

Obj = dict[str, Any]
Cells = Callable[[Obj, datetime], list[Any]]


def columns(text: str) -> tuple[Column, ...]:
    """`"Name Ready Node* Nominated_Node*"` → columns; integer ones are marked `#`."""
    made = []
    for word in text.split():
        name = word.strip("*#").replace("_", " ")
        made.append(Column(name, "integer" if "#" in word else "string", "name" if name == "Name" else "", priority=int("*" in word)))
    return tuple(made)


def name_of(o: Obj) -> str:
    """metadata.name."""
    return str(o["metadata"]["name"])


def age_of(o: Obj, now: datetime) -> str:
    """Age since creation."""
    return age(o["metadata"].get("creationTimestamp"), now)


def joined(parts: Iterable[Any]) -> str:
    """Comma-separated, `<none>` when empty."""
    return ",".join(str(p) for p in parts) or "<none>"


def _containers(spec: Obj) -> list[str]:
    found = spec.get("containers") or []
    return [joined(c["name"] for c in found), joined(c.get("image", "") for c in found)]


def _template(o: Obj) -> list[str]:
    return [*_containers(o["spec"]["template"].get("spec", {})), format_selector(o["spec"].get("selector"))]


def _status(o: Obj, name: str) -> int:
    return int(o.get("status", {}).get(name) or 0)


def _deployment(o: Obj, now: datetime) -> list[Any]:
    ready = f"{_status(o, 'readyReplicas')}/{o['spec'].get('replicas', 1)}"
    return [name_of(o), ready, _status(o, "updatedReplicas"), _status(o, "availableReplicas"), age_of(o, now), *_template(o)]


def _replica_set(o: Obj, now: datetime) -> list[Any]:
    return [name_of(o), o["spec"].get("replicas", 1), _status(o, "replicas"), _status(o, "readyReplicas"), age_of(o, now), *_template(o)]


def _stateful_set(o: Obj, now: datetime) -> list[Any]:
    return [name_of(o), f"{_status(o, 'readyReplicas')}/{o['spec'].get('replicas', 1)}", age_of(o, now), *_containers(o["spec"]["template"].get("spec", {}))]


def _daemon_set(o: Obj, now: datetime) -> list[Any]:
    counts = [_status(o, n) for n in ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")]
    selector = joined(f"{k}={v}" for k, v in (o["spec"]["template"].get("spec", {}).get("nodeSelector") or {}).items())
    return [name_of(o), *counts, selector, age_of(o, now), *_template(o)]


_JOB_STATES = ("Complete", "Failed", "Terminating", "Suspended", "FailureTarget", "SuccessCriteriaMet")
"""What `kubectl get job` shows, the first that holds: a job that met its criteria and is over says that it is over. Source: printers/internalversion printJob."""


def _job(o: Obj, now: datetime) -> list[Any]:
    st, spec = o.get("status", {}), o["spec"]
    done = f"{st.get('succeeded', 0)}/{spec['completions']}" if spec.get("completions") is not None else f"{st.get('succeeded', 0)}/1"
    true = {c["type"] for c in st.get("conditions") or () if c["status"] == "True"} | ({"Terminating"} if o["metadata"].get("deletionTimestamp") else set())
    state = next((kind for kind in _JOB_STATES if kind in true), "Running")
    took = ""
    if st.get("startTime"):
        end = datetime.fromisoformat(st["completionTime"]) if st.get("completionTime") else now
        took = duration(int((end - datetime.fromisoformat(st["startTime"])).total_seconds()))
    return [name_of(o), state, done, took, age_of(o, now), *_template(o)]


def _cron_job(o: Obj, now: datetime) -> list[Any]:
    spec, st = o["spec"], o.get("status", {})
    last = age(st["lastScheduleTime"], now) if st.get("lastScheduleTime") else "<none>"
    pod = spec["jobTemplate"].get("spec", {}).get("template", {}).get("spec", {})
    return [name_of(o), spec["schedule"], spec.get("timeZone") or "<none>", str(spec.get("suspend", False)), len(st.get("active") or ()), last,
            age_of(o, now), *_containers(pod), format_selector(spec["jobTemplate"].get("spec", {}).get("selector"))]  # fmt: skip


def _service(o: Obj, now: datetime) -> list[Any]:
    spec = o["spec"]
    kind = spec.get("type", "ClusterIP")
    external = list(spec.get("externalIPs") or ())
    if kind == "LoadBalancer":
        external = [i.get("ip") or i.get("hostname") for i in o.get("status", {}).get("loadBalancer", {}).get("ingress") or ()] + external or ["<pending>"]
    elif kind == "ExternalName":
        external = [spec.get("externalName", "")]
    ports = []
    for port in spec.get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    selector = joined(f"{k}={v}" for k, v in sorted((spec.get("selector") or {}).items()))
    return [name_of(o), kind, spec.get("clusterIP") or "<none>", joined(external), joined(ports), age_of(o, now), selector]


def _endpoints(o: Obj, now: datetime) -> list[Any]:
    pairs = []
    for subset in o.get("subsets") or ():
        ports = subset.get("ports") or [{}]
        pairs += [f"{a['ip']}:{p['port']}" if p else a["ip"] for p in ports for a in subset.get("addresses") or ()]
    return [name_of(o), _few(pairs), age_of(o, now)]


def _few(parts: list[str], most: int = 3) -> str:
    return joined(parts) if len(parts) <= most else f"{','.join(parts[:most])} + {len(parts) - most} more..."


def _endpoint_slice(o: Obj, now: datetime) -> list[Any]:
    ports = [str(p.get("port", "*")) for p in o.get("ports") or ()]
    addresses = [a for e in o.get("endpoints") or () for a in e.get("addresses", ())]
    return [name_of(o), o["addressType"], _few(ports) if ports else "<unset>", _few(addresses) if addresses else "<unset>", age_of(o, now)]


def _node(o: Obj, now: datetime) -> list[Any]:
    st = o.get("status", {})
    ready = next((c["status"] for c in st.get("conditions") or () if c["type"] == "Ready"), "Unknown")
    state = {"True": "Ready", "False": "NotReady"}.get(ready, "NotReady" if ready == "Unknown" and st.get("conditions") else "Unknown")
    if o.get("spec", {}).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = joined(sorted(k.removeprefix(prefix) for k in o["metadata"].get("labels") or {} if k.startswith(prefix)))
    info = st.get("nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in st.get("addresses") or ()}
    return [name_of(o), state, roles, age_of(o, now), info.get("kubeletVersion", ""), addresses.get("InternalIP", "<none>"), addresses.get("ExternalIP", "<none>"),
            info.get("osImage") or "<unknown>", info.get("kernelVersion") or "<unknown>", info.get("containerRuntimeVersion") or "<unknown>"]  # fmt: skip


def _event(o: Obj, now: datetime) -> list[Any]:
    who = o.get("involvedObject") or o.get("regarding") or {}
    target = f"{who.get('kind', '').lower()}/{who['name']}" if who.get("name") else who.get("kind", "").lower()
    series = o.get("series") or {}
    last = series.get("lastObservedTime") or o.get("lastTimestamp") or o.get("deprecatedLastTimestamp") or o.get("eventTime") or o["metadata"].get("creationTimestamp")
    first = o.get("firstTimestamp") or o.get("deprecatedFirstTimestamp") or o.get("eventTime")
    source = o.get("source") or o.get("deprecatedSource") or {}
    origin = ", ".join(p for p in (source.get("component") or o.get("reportingComponent") or o.get("reportingController") or "", source.get("host", "")) if p)
    count = series.get("count") or o.get("count") or o.get("deprecatedCount") or 1
    message = (o.get("message") or o.get("note") or "").strip()
    return [age(last, now), o.get("type", ""), o.get("reason", ""), target, who.get("fieldPath", ""), origin, message, age(first, now), count, name_of(o)]


def _ingress(o: Obj, now: datetime) -> list[Any]:
    hosts = [r["host"] for r in o["spec"].get("rules") or () if r.get("host")]
    balancers = [i.get("ip") or i.get("hostname") for i in o.get("status", {}).get("loadBalancer", {}).get("ingress") or ()]
    ports = "80, 443" if o["spec"].get("tls") else "80"
    return [name_of(o), o["spec"].get("ingressClassName") or "<none>", _few(hosts) if hosts else "*", ",".join(filter(None, balancers)), ports, age_of(o, now)]


def _binding(o: Obj, now: datetime) -> list[Any]:
    subjects = o.get("subjects") or ()
    who = {kind: [s["name"] if kind != "ServiceAccount" else f"{s.get('namespace', '')}/{s['name']}" for s in subjects if s["kind"] == kind] for kind in ("User", "Group", "ServiceAccount")}
    return [name_of(o), f"{o['roleRef']['kind']}/{o['roleRef']['name']}", age_of(o, now), *(", ".join(found) for found in who.values())]


def _disruption_budget(o: Obj, now: datetime) -> list[Any]:
    spec = o["spec"]
    return [name_of(o), spec.get("minAvailable", "N/A"), spec.get("maxUnavailable", "N/A"), _status(o, "disruptionsAllowed"), age_of(o, now)]


def _autoscaler(o: Obj, now: datetime) -> list[Any]:
    spec, ref = o["spec"], o["spec"]["scaleTargetRef"]
    targets = joined(m.get("type", "") for m in spec.get("metrics") or ())
    return [name_of(o), f"{ref['kind']}/{ref['name']}", targets, str(spec.get("minReplicas", "<unset>")), spec["maxReplicas"], _status(o, "currentReplicas"), age_of(o, now)]


def _storage_class(o: Obj, now: datetime) -> list[Any]:
    default = (o["metadata"].get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    return [name_of(o) + " (default)" * default, o["provisioner"], o.get("reclaimPolicy", "Delete"), o.get("volumeBindingMode", "Immediate"), str(o.get("allowVolumeExpansion", False)).lower(), age_of(o, now)]


def _hooks(o: Obj, now: datetime) -> list[Any]:
    return [name_of(o), len(o.get("webhooks") or ()), age_of(o, now)]


PLAIN = (columns("Name Age"), lambda o, now: [name_of(o), age_of(o, now)])

PRINTERS: dict[str, tuple[tuple[Column, ...], Cells]] = {
    "pods": (columns("Name Ready Status Restarts Age IP* Node* Nominated_Node* Readiness_Gates*"), pod_cells),
    "deployments.apps": (columns("Name Ready Up-to-date Available Age Containers* Images* Selector*"), _deployment),
    "replicasets.apps": (columns("Name Desired# Current# Ready# Age Containers* Images* Selector*"), _replica_set),
    "statefulsets.apps": (columns("Name Ready Age Containers* Images*"), _stateful_set),
    "daemonsets.apps": (columns("Name Desired# Current# Ready# Up-to-date# Available# Node_Selector Age Containers* Images* Selector*"), _daemon_set),
    "jobs.batch": (columns("Name Status Completions Duration Age Containers* Images* Selector*"), _job),
    "cronjobs.batch": (columns("Name Schedule Timezone Suspend Active# Last_Schedule Age Containers* Images* Selector*"), _cron_job),
    "services": (columns("Name Type Cluster-IP External-IP Port(s) Age Selector*"), _service),
    "endpoints": (columns("Name Endpoints Age"), _endpoints),
    "endpointslices.discovery.k8s.io": (columns("Name AddressType Ports Endpoints Age"), _endpoint_slice),
    "nodes": (columns("Name Status Roles Age Version Internal-IP* External-IP* OS-Image* Kernel-Version* Container-Runtime*"), _node),
    "events": (columns("Last_Seen Type Reason Object Subobject* Source* Message First_Seen* Count#* Name*"), _event),
    "namespaces": (columns("Name Status Age"), lambda o, now: [name_of(o), o.get("status", {}).get("phase", ""), age_of(o, now)]),
    "configmaps": (columns("Name Data Age"), lambda o, now: [name_of(o), len(o.get("data") or ()) + len(o.get("binaryData") or ()), age_of(o, now)]),
    "secrets": (columns("Name Type Data Age"), lambda o, now: [name_of(o), o.get("type", "Opaque"), len(o.get("data") or ()), age_of(o, now)]),
    "serviceaccounts": (columns("Name Secrets Age"), lambda o, now: [name_of(o), len(o.get("secrets") or ()), age_of(o, now)]),
    "ingresses.networking.k8s.io": (columns("Name Class Hosts Address Ports Age"), _ingress),
    "ingressclasses.networking.k8s.io": (columns("Name Controller Parameters Age"), lambda o, now: [
        name_of(o), o.get("spec", {}).get("controller", ""), (o.get("spec", {}).get("parameters") or {}).get("name", "<none>"), age_of(o, now)]),
    "networkpolicies.networking.k8s.io": (columns("Name Pod-Selector Age"), lambda o, now: [name_of(o), format_selector(o["spec"].get("podSelector")), age_of(o, now)]),
    "leases.coordination.k8s.io": (columns("Name Holder Age"), lambda o, now: [name_of(o), o.get("spec", {}).get("holderIdentity", ""), age_of(o, now)]),
    "roles.rbac.authorization.k8s.io": (columns("Name Created_At"), lambda o, now: [name_of(o), o["metadata"].get("creationTimestamp", "")]),
    "clusterroles.rbac.authorization.k8s.io": (columns("Name Created_At"), lambda o, now: [name_of(o), o["metadata"].get("creationTimestamp", "")]),
    "rolebindings.rbac.authorization.k8s.io": (columns("Name Role Age Users* Groups* ServiceAccounts*"), _binding),
    "clusterrolebindings.rbac.authorization.k8s.io": (columns("Name Role Age Users* Groups* ServiceAccounts*"), _binding),
    "customresourcedefinitions.apiextensions.k8s.io": (columns("Name Created_At"), lambda o, now: [name_of(o), o["metadata"].get("creationTimestamp", "")]),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": (columns("Name Webhooks# Age"), _hooks),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": (columns("Name Webhooks# Age"), _hooks),
    "priorityclasses.scheduling.k8s.io": (columns("Name Value# Global-Default Age PreemptionPolicy"), lambda o, now: [
        name_of(o), o.get("value", 0), str(o.get("globalDefault", False)).lower(), age_of(o, now), o.get("preemptionPolicy", "")]),
    "storageclasses.storage.k8s.io": (columns("Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion Age"), _storage_class),
    "poddisruptionbudgets.policy": (columns("Name Min_Available Max_Unavailable Allowed_Disruptions# Age"), _disruption_budget),
    "horizontalpodautoscalers.autoscaling": (columns("Name Reference Targets MinPods MaxPods# Replicas# Age"), _autoscaler),
}  # fmt: skip
