"""Validation of metadata and of the built-in kinds, beyond what their schema says. Pure: an object in, causes out.

Covers what users of the mesh run into (names, labels, selectors, pods, services, immutable fields); field paths and sentences are those of
kube-apiserver, because people search for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from mesh.sandbox.apiserver import expressions, podvalidation
from mesh.sandbox.apiserver.names import (
    LABEL_RULE,
    SUBDOMAIN_RULE,
    is_label,
    is_label_value,
    is_path_segment,
    is_qualified_name,
    is_service_name,
    is_subdomain,
)
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.selectors import match_selector
from mesh.sandbox.apiserver.status import Cause

Obj = dict[str, Any]

MAX_ANNOTATION_BYTES = 256 * 1024
LABEL_NAMED = ("namespaces",)
SERVICE_NAMED = ("services",)
PATH_NAMED = ("rbac.authorization.k8s.io",)


def required(path: str, message: str = "") -> Cause:
    """A field that must be there."""
    return Cause("FieldValueRequired", path, "Required value" + (f": {message}" if message else ""))


def invalid(path: str, value: Any, message: str) -> Cause:
    """A field with a wrong value."""
    return Cause("FieldValueInvalid", path, f"Invalid value: {json.dumps(value, separators=(',', ':'))}: {message}")


def unsupported(path: str, value: Any, allowed: Iterable[str]) -> Cause:
    """A value outside of a closed set."""
    return Cause("FieldValueNotSupported", path, f'Unsupported value: "{value}": supported values: ' + ", ".join(f'"{a}"' for a in sorted(allowed)))


def metadata(obj: Obj, old: Obj | None, resource: Resource) -> list[Cause]:
    """ObjectMeta of any kind."""
    meta = obj["metadata"]
    causes = []
    if old is None:
        causes += _name(meta.get("name", ""), resource)
    causes += labels(meta.get("labels") or {}, "metadata.labels")
    annotations = meta.get("annotations") or {}
    for key in annotations:
        if not is_qualified_name(key.lower()):
            causes.append(invalid("metadata.annotations", key, "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"))
    size = sum(len(k) + len(str(v)) for k, v in annotations.items())
    if size > MAX_ANNOTATION_BYTES:
        causes.append(Cause("FieldValueTooLong", "metadata.annotations", f"Too long: may not be more than {MAX_ANNOTATION_BYTES} bytes"))
    for reference in meta.get("ownerReferences") or ():
        causes += [invalid(f"metadata.ownerReferences.{name}", "", "must not be empty") for name in ("apiVersion", "kind", "name", "uid") if not reference.get(name)]
    if sum(bool(r.get("controller")) for r in meta.get("ownerReferences") or ()) > 1:
        causes.append(invalid("metadata.ownerReferences", "controller", "Only one reference can have Controller set to true"))
    for name in meta.get("finalizers") or ():
        if not is_qualified_name(name):
            causes.append(invalid("metadata.finalizers", name, "name part must consist of alphanumeric characters, '-', '_' or '.'"))
    if old is not None and old["metadata"].get("deletionTimestamp"):
        added = set(meta.get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
        if added:
            causes.append(Cause("FieldValueForbidden", "metadata.finalizers", f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}"))
    return causes


def _name(name: str, resource: Resource) -> list[Cause]:
    if resource.group in PATH_NAMED:
        return [] if is_path_segment(name) else [invalid("metadata.name", name, "may not contain '/' or '%', and may not be '.' or '..'")]
    if resource.key in LABEL_NAMED:
        return [] if is_label(name) else [invalid("metadata.name", name, LABEL_RULE)]
    if resource.key in SERVICE_NAMED:
        return [] if is_service_name(name) else [invalid("metadata.name", name, "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
                "start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
                "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')")]  # fmt: skip
    return [] if is_subdomain(name) else [invalid("metadata.name", name, SUBDOMAIN_RULE)]


def labels(found: Obj, path: str) -> list[Cause]:
    """Keys and values of a label map."""
    causes = []
    for key, value in found.items():
        if not is_qualified_name(key):
            causes.append(invalid(path, key, "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"))
        if not is_label_value(value):
            causes.append(invalid(path, value, "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
                                  "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
                                  "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"))  # fmt: skip
    return causes


def selector(found: Obj | None, path: str) -> list[Cause]:
    """A LabelSelector."""
    causes = labels((found or {}).get("matchLabels") or {}, f"{path}.matchLabels")
    for index, e in enumerate((found or {}).get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{index}]"
        operator, values = e.get("operator"), e.get("values") or ()
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            causes.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        elif operator in ("In", "NotIn") and not values:
            causes.append(required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist") and values:
            causes.append(Cause("FieldValueForbidden", f"{here}.values", "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    return causes


def check(obj: Obj, old: Obj | None, resource: Resource, subresource: str) -> list[Cause]:
    """What is special to the kind."""
    if subresource == "status":
        return []
    if subresource == "ephemeralcontainers" and old is not None:
        return podvalidation.ephemeral_update(obj["spec"], old["spec"])
    function = CHECKS.get(resource.key)
    return function(obj, old) if function else []


def _immutable(path: str, new: Any, old: Any) -> list[Cause]:
    return [] if new == old else [Cause("FieldValueInvalid", path, f"Invalid value: {json.dumps(new, separators=(',', ':'))}: field is immutable")]


def _workload(obj: Obj, old: Obj | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    template = spec.get("template") or {}
    causes = selector(spec.get("selector"), "spec.selector")
    if spec.get("replicas", 0) < 0:
        causes.append(invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
    if not (spec.get("selector") or {}).get("matchLabels") and not (spec.get("selector") or {}).get("matchExpressions"):
        causes.append(invalid("spec.selector", spec.get("selector") or {}, "empty selector is invalid for deployment"))
    template_labels = (template.get("metadata") or {}).get("labels") or {}
    if not causes and not match_selector(spec["selector"], template_labels):
        causes.append(invalid("spec.template.metadata.labels", template_labels, "`selector` does not match template `labels`"))
    causes += labels(template_labels, "spec.template.metadata.labels")
    causes += podvalidation.spec(template.get("spec") or {}, "spec.template.spec")
    restart = (template.get("spec") or {}).get("restartPolicy")
    if restart != "Always":
        causes.append(unsupported("spec.template.spec.restartPolicy", restart, ["Always"]))
    if old is not None:
        causes += _immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))
    return causes


def _job(obj: Obj, old: Obj | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    template = (spec.get("template") or {}).get("spec") or {}
    causes = podvalidation.spec(template, "spec.template.spec")
    if template.get("restartPolicy") not in ("OnFailure", "Never"):
        causes.append(Cause("FieldValueRequired", "spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'))
    for name in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if (spec.get(name) or 0) < 0:
            causes.append(invalid(f"spec.{name}", spec[name], "must be greater than or equal to 0"))
    if old is not None:
        causes += _immutable("spec.completions", spec.get("completions"), old["spec"].get("completions"))
        causes += _immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))
        causes += _immutable("spec.template", spec.get("template"), old["spec"].get("template"))
    return causes


CRON_FIELD = re.compile(r"^(\*|\?|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/[0-9]+)?(,(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/[0-9]+)?)*$")


def _cron_job(obj: Obj, old: Obj | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    schedule = spec.get("schedule", "")
    causes = []
    if not schedule.startswith("@") and (len(schedule.split()) != 5 or not all(map(CRON_FIELD.match, schedule.split()))):
        causes.append(invalid("spec.schedule", schedule, f"expected exactly 5 fields, found {len(schedule.split())}: {schedule.split()}"))
    if spec.get("concurrencyPolicy") not in ("Allow", "Forbid", "Replace"):
        causes.append(unsupported("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ["Allow", "Forbid", "Replace"]))
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    return causes + podvalidation.spec(template.get("spec") or {}, "spec.jobTemplate.spec.template.spec")


def _pod(obj: Obj, old: Obj | None) -> list[Cause]:
    if old is None:
        early = [Cause("FieldValueForbidden", "spec.ephemeralContainers", "Forbidden: cannot be set on create")] if obj["spec"].get("ephemeralContainers") else []
        return podvalidation.spec(obj["spec"], "spec") + early
    return podvalidation.update(obj["spec"], old["spec"])


def _service(obj: Obj, old: Obj | None) -> list[Cause]:
    spec = obj["spec"]
    kind, ports = spec["type"], spec.get("ports") or []
    causes = labels(spec.get("selector") or {}, "spec.selector")
    if kind not in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"):
        causes.append(unsupported("spec.type", kind, ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]))
    if kind == "ExternalName" and not is_subdomain(spec.get("externalName", "").removesuffix(".")):
        causes.append(invalid("spec.externalName", spec.get("externalName", ""), SUBDOMAIN_RULE))
    if kind != "ExternalName" and not ports and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    seen_names: set[str] = set()
    seen_ports: set[tuple[int, str]] = set()
    for index, port in enumerate(ports):
        here = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            causes.append(required(f"{here}.name"))
        elif name and not is_label(name):
            causes.append(invalid(f"{here}.name", name, LABEL_RULE))
        elif name in seen_names and name:
            causes.append(Cause("FieldValueDuplicate", f"{here}.name", f'Duplicate value: "{name}"'))
        seen_names.add(name)
        causes += podvalidation.port_number(port.get("port"), f"{here}.port")
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            causes.append(unsupported(f"{here}.protocol", port.get("protocol"), ["SCTP", "TCP", "UDP"]))
        target = port.get("targetPort")
        if isinstance(target, int):
            causes += podvalidation.port_number(target, f"{here}.targetPort")
        elif isinstance(target, str) and not podvalidation.is_port_name(target):
            causes.append(invalid(f"{here}.targetPort", target, podvalidation.PORT_NAME_RULE))
        pair = (port.get("port", 0), port.get("protocol", ""))
        if pair in seen_ports:
            shown = {"Name": "", "Protocol": pair[1], "AppProtocol": None, "Port": pair[0], "TargetPort": 0, "NodePort": 0}  # as Go prints the internal type
            causes.append(Cause("FieldValueDuplicate", here, f"Duplicate value: {json.dumps(shown, separators=(',', ':'))}"))
        seen_ports.add(pair)
    if spec.get("sessionAffinity") not in ("None", "ClientIP"):
        causes.append(unsupported("spec.sessionAffinity", spec.get("sessionAffinity"), ["ClientIP", "None"]))
    if old is not None and old["spec"].get("clusterIP") and kind != "ExternalName" and old["spec"]["type"] != "ExternalName":
        if spec.get("clusterIP") != old["spec"]["clusterIP"]:
            causes.append(Cause("FieldValueInvalid", "spec.clusterIPs[0]", f'Invalid value: ["{spec.get("clusterIP")}"]: may not change once set'))
    return causes


def _map_keys(obj: Obj, parts: tuple[str, ...]) -> list[Cause]:
    causes = []
    for part in parts:
        for key in obj.get(part) or ():
            if not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) or key in (".", ".."):
                causes.append(invalid(f"{part}[{key}]", key, "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"))
    return causes


def _config_map(obj: Obj, old: Obj | None) -> list[Cause]:
    causes = _map_keys(obj, ("data", "binaryData"))
    if old is not None and old.get("immutable"):
        for part in ("data", "binaryData", "immutable"):
            if obj.get(part) != old.get(part):
                causes.append(Cause("FieldValueForbidden", part, "Forbidden: field is immutable when `immutable` is set"))
    return causes


SECRET_KEYS = {"kubernetes.io/tls": ("tls.crt", "tls.key"), "kubernetes.io/dockerconfigjson": (".dockerconfigjson",), "kubernetes.io/ssh-auth": ("ssh-privatekey",)}


def _secret(obj: Obj, old: Obj | None) -> list[Cause]:
    import base64
    import binascii

    causes = _map_keys(obj, ("data",))
    for key, value in (obj.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            causes.append(invalid(f"data[{key}]", "<base64>", "illegal base64 data"))
    causes += [required(f"data[{key}]") for key in SECRET_KEYS.get(obj["type"], ()) if key not in (obj.get("data") or {})]
    if old is not None:
        if obj["type"] != old["type"]:
            causes.append(Cause("FieldValueInvalid", "type", f'Invalid value: "{obj["type"]}": field is immutable'))
        if old.get("immutable") and (obj.get("data") != old.get("data") or not obj.get("immutable")):
            causes.append(Cause("FieldValueForbidden", "data", "Forbidden: field is immutable when `immutable` is set"))
    return causes


def _binding(obj: Obj, old: Obj | None) -> list[Cause]:
    reference = obj["roleRef"]
    allowed = ("ClusterRole",) if obj["kind"] == "ClusterRoleBinding" else ("ClusterRole", "Role")
    causes = [] if reference["kind"] in allowed else [unsupported("roleRef.kind", reference["kind"], allowed)]
    if not reference["name"]:
        causes.append(required("roleRef.name"))
    for index, subject in enumerate(obj.get("subjects") or ()):
        if subject["kind"] not in ("User", "Group", "ServiceAccount"):
            causes.append(unsupported(f"subjects[{index}].kind", subject["kind"], ("Group", "ServiceAccount", "User")))
        if subject["kind"] == "ServiceAccount" and not subject.get("namespace") and obj["kind"] == "ClusterRoleBinding":
            causes.append(required(f"subjects[{index}].namespace"))
    if old is not None and reference != old["roleRef"]:
        causes.append(Cause("FieldValueInvalid", "roleRef", f"Invalid value: {json.dumps(reference, separators=(',', ':'))}: cannot change roleRef"))
    return causes


def _ingress(obj: Obj, old: Obj | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = []
    if not spec.get("rules") and not spec.get("defaultBackend"):
        causes.append(invalid("spec", spec, "either `defaultBackend` or `rules` must be specified"))
    for r, rule in enumerate(spec.get("rules") or ()):
        host = rule.get("host", "")
        if host and not is_subdomain(host.removeprefix("*.")):
            causes.append(invalid(f"spec.rules[{r}].host", host, SUBDOMAIN_RULE))
        for p, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            here = f"spec.rules[{r}].http.paths[{p}]"
            if path.get("pathType") not in ("Exact", "Prefix", "ImplementationSpecific"):
                causes.append(unsupported(f"{here}.pathType", path.get("pathType"), ["Exact", "ImplementationSpecific", "Prefix"]))
            elif path["pathType"] != "ImplementationSpecific" and not path.get("path", "").startswith("/"):
                causes.append(invalid(f"{here}.path", path.get("path", ""), "must be an absolute path"))
    return causes


OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")


def _event(obj: Obj, old: Obj | None) -> list[Cause]:
    place, where = (obj.get("involvedObject") or obj.get("regarding") or {}).get("namespace", ""), obj["metadata"].get("namespace", "")
    # Events about what has no namespace lie in `default`.
    return [] if place == where or (not place and where == "default") else [invalid("involvedObject.namespace", place, "does not match event.namespace")]


def _hooks(obj: Obj, old: Obj | None) -> list[Cause]:
    causes = []
    for index, hook in enumerate(obj.get("webhooks") or ()):
        here = f"webhooks[{index}]"
        client = hook.get("clientConfig") or {}
        if hook.get("name", "").count(".") < 2:
            causes.append(invalid(f"{here}.name", hook.get("name"), "should be a domain with at least three segments separated by dots"))
        if ("url" in client) is ("service" in client):
            causes.append(required(f"{here}.clientConfig", "exactly one of url or service is required"))
        if client.get("url") and not client["url"].startswith("https://"):
            causes.append(invalid(f"{here}.clientConfig.url", client["url"], "'https' is the only allowed URL scheme"))
        if hook.get("failurePolicy") not in ("Fail", "Ignore"):
            causes.append(unsupported(f"{here}.failurePolicy", hook.get("failurePolicy"), ["Fail", "Ignore"]))
        if hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            causes.append(unsupported(f"{here}.sideEffects", hook.get("sideEffects"), ["None", "NoneOnDryRun"]))
        if not 1 <= hook.get("timeoutSeconds", 10) <= 30:
            causes.append(invalid(f"{here}.timeoutSeconds", hook["timeoutSeconds"], "the timeout value must be between 1 and 30 seconds"))
        if not hook.get("admissionReviewVersions"):
            causes.append(required(f"{here}.admissionReviewVersions", "must specify one of v1, v1beta1"))
        elif "v1" not in hook["admissionReviewVersions"]:
            causes.append(invalid(f"{here}.admissionReviewVersions", ",".join(hook.get("admissionReviewVersions", ())), 'must include at least one of "v1"'))
        for number, rule in enumerate(hook.get("rules") or ()):
            for place, operation in enumerate(rule.get("operations") or ()):
                if operation not in OPERATIONS:
                    causes.append(unsupported(f"{here}.rules[{number}].operations[{place}]", operation, OPERATIONS))
        for number, condition in enumerate(hook.get("matchConditions") or ()):
            problem = expressions.syntax_error(condition.get("expression", ""))
            if problem:
                causes.append(invalid(f"{here}.matchConditions[{number}].expression", condition.get("expression", ""), f"compilation failed: {problem}"))
        causes += selector(hook.get("namespaceSelector"), f"{here}.namespaceSelector") + selector(hook.get("objectSelector"), f"{here}.objectSelector")
    return causes


def _endpoint_slice(obj: Obj, old: Obj | None) -> list[Cause]:
    causes = [] if obj["addressType"] in ("IPv4", "IPv6", "FQDN") else [unsupported("addressType", obj["addressType"], ["FQDN", "IPv4", "IPv6"])]
    if old is not None:
        causes += _immutable("addressType", obj["addressType"], old["addressType"])
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            causes.append(required(f"endpoints[{index}].addresses", "must contain at least 1 address"))
    return causes


CHECKS: dict[str, Callable[[Obj, Obj | None], list[Cause]]] = {
    "events": _event, "pods": _pod, "services": _service, "configmaps": _config_map, "secrets": _secret,
    "deployments.apps": _workload, "replicasets.apps": _workload, "statefulsets.apps": _workload, "daemonsets.apps": _workload,
    "jobs.batch": _job, "cronjobs.batch": _cron_job, "ingresses.networking.k8s.io": _ingress,
    "rolebindings.rbac.authorization.k8s.io": _binding, "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _hooks, "validatingwebhookconfigurations.admissionregistration.k8s.io": _hooks,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
}  # fmt: skip
