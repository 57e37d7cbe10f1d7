"""Gateway API's kinds: GatewayClass, Gateway, HTTPRoute, GRPCRoute, ReferenceGrant. Limits and defaults are upstream's.

HTTPRoute has two fields of the experimental channel that the mesh honours, `retry` and the CORS filter; hence the
channel in the annotation.
"""

from typing import Any

from schema import BOOL, PORT, STR, Schema, arr, crd, enum, mapping, obj, req, rules, text, whole

GROUP = "gateway.networking.k8s.io"
_DNS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_GROUP = text(rf"^$|^{_DNS}$", most=253)
_KIND = text(r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", 1, 63)
_NAME = text(least=1, most=253)
_NAMESPACE = text(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 1, 63)
_SECTION = text(rf"^{_DNS}$", 1, 253)
_HOSTNAME = text(rf"^(\*\.)?{_DNS}$", 1, 253)
_PRECISE_HOSTNAME = text(rf"^{_DNS}$", 1, 253)
_CONTROLLER = text(rf"^{_DNS}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$", 1, 253)
_HEADER_NAME = text(r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$", 1, 256)
_DURATION = text(r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")
_ANNOTATION = text(most=4096)


def _default(schema: Schema, value: Any) -> Schema:
    return schema | {"default": value}


_REF = {"group": req(_GROUP), "kind": req(_KIND), "name": req(_NAME)}
_CONDITION = obj(
    type=req(text(rf"^({_DNS}/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$", most=316)),
    status=req(enum("True", "False", "Unknown")),
    observedGeneration=whole(0, format="int64"),
    lastTransitionTime=req(text(format="date-time")),
    reason=req(text(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", 1, 1024)),
    message=req(text(most=32768)),
)
_CONDITIONS = arr(_CONDITION, most=8, keys=["type"])
# Source: metav1.LabelSelector.
_LABEL_SELECTOR = obj(
    {"x-kubernetes-map-type": "atomic"},
    matchLabels=mapping(STR),
    matchExpressions=arr(obj(key=req(STR), operator=req(enum("In", "NotIn", "Exists", "DoesNotExist")), values=arr(STR))),
)


def _pending(*types: str) -> list[dict[str, str]]:
    """What a new object's status says before a controller has seen it."""
    common = {"lastTransitionTime": "1970-01-01T00:00:00Z", "message": "Waiting for controller", "reason": "Pending", "status": "Unknown"}
    return [{"type": name, **common} for name in types]


_CLASS = obj(
    controllerName=req(_CONTROLLER),
    parametersRef=obj(**_REF, namespace=_NAMESPACE),
    description=text(most=64),
)
_CLASS_STATUS = _default(obj(conditions=_default(_CONDITIONS, _pending("Accepted"))), {"conditions": _pending("Accepted")})

_ROUTE_KIND = obj(group=_default(_GROUP, GROUP), kind=req(_KIND))
_ADDRESS_TYPE = text(rf"^(Hostname|IPAddress|NamedAddress|{_DNS}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+)$", 1, 253, default="IPAddress")
_LISTENER = obj(
    name=req(_SECTION),
    hostname=_HOSTNAME,
    port=req(PORT | {"format": "int32"}),
    protocol=req(text(rf"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|^{_DNS}\/[A-Za-z0-9]+$", 1, 255)),
    tls=obj(
        # Whoever ends TLS needs a certificate, or options of an implementation's own that say where it comes from.
        {"anyOf": [
            {"properties": {"mode": {"enum": ["Passthrough"]}}},
            {"required": ["certificateRefs"], "properties": {"certificateRefs": {"minItems": 1}}},
            {"required": ["options"], "properties": {"options": {"minProperties": 1}}},
        ]},
        mode=enum("Terminate", "Passthrough", default="Terminate"),
        certificateRefs=arr(
            obj(group=_default(_GROUP, ""), kind=_default(_KIND, "Secret"), name=req(_NAME), namespace=_NAMESPACE), most=64
        ),
        options=mapping(_ANNOTATION, most=16),
    ),
    allowedRoutes=_default(
        obj(
            namespaces=_default(obj(from_=enum("All", "Selector", "Same", default="Same"), selector=_LABEL_SELECTOR), {"from": "Same"}),
            kinds=arr(_ROUTE_KIND, most=8),
        ),
        {"namespaces": {"from": "Same"}},
    ),
)
_GATEWAY = obj(
    gatewayClassName=req(_NAME),
    listeners=req(arr(_LISTENER, least=1, most=64, keys=["name"])),
    addresses=arr(obj(type=_ADDRESS_TYPE, value=text(most=253)), most=16),
    infrastructure=obj(
        labels=mapping(text(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", most=63), most=8),
        annotations=mapping(_ANNOTATION, most=8),
        parametersRef=obj(**_REF),
    ),
)
_GATEWAY_STATUS = _default(
    obj(
        addresses=arr(obj(type=_ADDRESS_TYPE, value=req(text(least=1, most=253))), most=16),
        conditions=_default(_CONDITIONS, _pending("Accepted", "Programmed")),
        listeners=arr(
            obj(name=req(_SECTION), supportedKinds=req(arr(_ROUTE_KIND, most=8)), attachedRoutes=req(whole(0)), conditions=req(_CONDITIONS)),
            most=64,
            keys=["name"],
        ),
    ),
    {"conditions": _pending("Accepted", "Programmed")},
)

_PARENT_REF = obj(
    group=_default(_GROUP, GROUP), kind=_default(_KIND, "Gateway"), namespace=_NAMESPACE, name=req(_NAME), sectionName=_SECTION, port=PORT
)
_ROUTE_STATUS = obj(parents=req(arr(obj(parentRef=req(_PARENT_REF), controllerName=req(_CONTROLLER), conditions=_CONDITIONS), most=32)))
_BACKEND: dict[str, Schema | req] = {
    "group": _default(_GROUP, ""), "kind": _default(_KIND, "Service"), "name": req(_NAME), "namespace": _NAMESPACE, "port": PORT,
}  # fmt: skip
# A Service has many ports; other kinds may have one of their own.
_NAMES_PORT: Schema = {"anyOf": [{"required": ["port"]}, {"not": {"properties": {"group": {"enum": [""]}, "kind": {"enum": ["Service"]}}}}]}
_WEIGHT = whole(0, 1000000, default=1, format="int32")
_HEADER = obj(name=req(_HEADER_NAME), value=req(text(least=1, most=4096)))
_HEADER_LIST = arr(_HEADER, most=16, keys=["name"])
_MODIFIER = obj(set=_HEADER_LIST, add=_HEADER_LIST, remove=arr(STR, most=16, unique=True))
_MIRROR = obj(
    {"not": {"required": ["percent", "fraction"]}},
    backendRef=req(obj(_NAMES_PORT, **_BACKEND)),
    percent=whole(0, 100),
    fraction=obj(numerator=req(whole(0)), denominator=whole(1, default=100)),
)
_PATH_EDIT = obj(
    {"oneOf": [
        {"properties": {"type": {"enum": ["ReplaceFullPath"]}}, "required": ["replaceFullPath"], "not": {"required": ["replacePrefixMatch"]}},
        {"properties": {"type": {"enum": ["ReplacePrefixMatch"]}}, "required": ["replacePrefixMatch"], "not": {"required": ["replaceFullPath"]}},
    ]},
    type=req(enum("ReplaceFullPath", "ReplacePrefixMatch")), replaceFullPath=text(most=1024), replacePrefixMatch=text(most=1024),
)  # fmt: skip
_REDIRECT = obj(
    scheme=enum("http", "https"), hostname=_PRECISE_HOSTNAME, path=_PATH_EDIT, port=PORT,
    statusCode={"type": "integer", "enum": [301, 302], "default": 302},
)  # fmt: skip
_CORS = obj(
    allowOrigins=arr(text(r"(^https?:\/\/.+$)|(^\*$)", 1, 253), most=64, unique=True), allowCredentials=BOOL,
    allowMethods=arr(enum("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"), most=9, unique=True),
    allowHeaders=arr(_HEADER_NAME, most=64, unique=True), exposeHeaders=arr(_HEADER_NAME, most=64, unique=True), maxAge=whole(1, default=5),
)  # fmt: skip
_FILTER_FIELDS: dict[str, Schema] = {
    "requestHeaderModifier": _MODIFIER, "responseHeaderModifier": _MODIFIER, "requestMirror": _MIRROR, "extensionRef": obj(**_REF),
}  # fmt: skip
_HTTP_FILTER_FIELDS: dict[str, Schema] = {
    **_FILTER_FIELDS, "requestRedirect": _REDIRECT, "urlRewrite": obj(hostname=_PRECISE_HOSTNAME, path=_PATH_EDIT), "cors": _CORS,
}  # fmt: skip
_TYPE_OF = {"urlRewrite": "URLRewrite", "cors": "CORS"}


def _filter(fields: dict[str, Schema]) -> Schema:
    """A union: the field that `type` names must be there, and no other."""
    types = {name: _TYPE_OF.get(name, name[0].upper() + name[1:]) for name in fields}
    cases = []
    for name, word in types.items():
        others: list[Schema] = [{"required": [other]} for other in fields if other != name]
        cases.append({"properties": {"type": {"enum": [word]}}, "required": [name], "not": {"anyOf": others}})
    return obj({"oneOf": cases}, type=req(enum(*types.values())), **fields)


def _once(*types: str) -> Schema:
    """Filters of these types appear once at most; mirrors may be several."""
    return rules(*((f"self.filter(f, f.type == '{name}').size() <= 1", f"there may be one {name} only") for name in types))


_HTTP_FILTERS = arr(_filter(_HTTP_FILTER_FIELDS), most=16) | _once("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS")
_GRPC_FILTERS = arr(_filter(_FILTER_FIELDS), most=16) | _once("RequestHeaderModifier", "ResponseHeaderModifier")
_MATCH_KIND = enum("Exact", "RegularExpression", default="Exact")
_HEADER_MATCHES = arr(
    obj(type=_MATCH_KIND, name=req(_HEADER_NAME), value=req(text(least=1, most=4096))), most=16, keys=["name"]
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_ANY_PATH = {"type": "PathPrefix", "value": "/"}
_HTTP_MATCH = obj(
    path=_default(
        obj(
            # The two kinds of plain path begin with a slash; a regular expression may begin with anything.
            {"anyOf": [{"properties": {"type": {"enum": ["RegularExpression"]}}}, {"properties": {"value": {"pattern": "^/"}}}]},
            type=enum("Exact", "PathPrefix", "RegularExpression", default="PathPrefix"),
            value=text(most=1024, default="/"),
        ),
        _ANY_PATH,
    ),
    headers=_HEADER_MATCHES,
    queryParams=arr(
        obj(type=_MATCH_KIND, name=req(_HEADER_NAME), value=req(text(least=1, most=1024))), most=16, keys=["name"]
    ),
    method=enum(*_METHODS),
)
_RETRY = obj(codes=arr(whole(400, 599)), attempts=whole(), backoff=_DURATION)
_HTTP_RULE = obj(
    name=_SECTION,
    matches=_default(arr(_HTTP_MATCH, most=64), [{"path": _ANY_PATH}]),
    filters=_HTTP_FILTERS,
    backendRefs=arr(obj(_NAMES_PORT, **_BACKEND, weight=_WEIGHT, filters=_HTTP_FILTERS), most=16),
    timeouts=obj(request=_DURATION, backendRequest=_DURATION),
    retry=_RETRY,
)
def _equal(key: str) -> str:
    """Both have it and the same, or neither has it. (CEL's own word is written __namespace__.)"""
    return f"(has(a.{key}) && has(b.{key}) && a.{key} == b.{key} || !has(a.{key}) && !has(b.{key}))"


_SAME = f"a.group == b.group && a.kind == b.kind && a.name == b.name && {_equal('__namespace__')}"
_PARENTS = arr(_PARENT_REF, most=32) | rules(
    (f"self.all(a, self.all(b, !({_SAME}) || has(a.sectionName) == has(b.sectionName)))", "references to one parent all name a sectionName, or there is one only"),
    (f"self.all(a, self.exists_one(b, {_SAME} && {_equal('sectionName')}))", "a parent's section is referred to once"),
)
_COMMON: dict[str, Schema] = {"parentRefs": _PARENTS, "hostnames": arr(_HOSTNAME, most=16)}
_HTTP_ROUTE = obj(**_COMMON, rules=_default(arr(_HTTP_RULE, most=16), [{"matches": [{"path": _ANY_PATH}]}]))
_GRPC_METHOD = obj(
    {"anyOf": [{"required": ["service"]}, {"required": ["method"]}], "oneOf": [
        {"properties": {"type": {"enum": ["RegularExpression"]}}},
        {"properties": {"type": {"enum": ["Exact"]}, "service": {"pattern": r"^\.?[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"}, "method": {"pattern": r"^[A-Za-z_]\w*$"}}},
    ]},
    type=_MATCH_KIND, service=text(most=1024), method=text(most=1024),
)  # fmt: skip
_GRPC_RULE = obj(
    name=_SECTION,
    matches=arr(obj(method=_GRPC_METHOD, headers=_HEADER_MATCHES), most=64),
    filters=_GRPC_FILTERS,
    backendRefs=arr(obj(_NAMES_PORT, **_BACKEND, weight=_WEIGHT, filters=_GRPC_FILTERS), most=16),
)
_GRPC_ROUTE = obj(**_COMMON, rules=arr(_GRPC_RULE, most=16))
_GRANT = obj(
    from_=req(arr(obj(group=req(_GROUP), kind=req(_KIND), namespace=req(_NAMESPACE)), least=1, most=16)),
    to=req(arr(obj(group=req(_GROUP), kind=req(_KIND), name=_NAME), least=1, most=16)),
)

_CLASS_COLUMNS = (
    ("Controller", ".spec.controllerName"),
    ("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
)
_GATEWAY_COLUMNS = (
    ("Class", ".spec.gatewayClassName"),
    ("Address", ".status.addresses[*].value"),
    ("Programmed", '.status.conditions[?(@.type=="Programmed")].status'),
)


def _gateway_api(kind: str, plural: str, versions: tuple[str, ...], spec: Schema, *short: str, **more: Any) -> Schema:
    annotations = {
        # Kubernetes refuses CRDs of its own groups without it.
        "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/3328",
        "gateway.networking.k8s.io/bundle-version": "v1.3.0",
        "gateway.networking.k8s.io/channel": "experimental",
    }
    return crd(
        GROUP, kind, plural, versions, spec, short=short, category=("gateway-api",), annotations=annotations, spec_required=True, **more
    )


_BOTH = ("v1", "v1beta1")
FILES = {
    "gateway.networking.k8s.io.yaml": [
        _gateway_api("GatewayClass", "gatewayclasses", _BOTH, _CLASS, "gc", columns=_CLASS_COLUMNS, status=_CLASS_STATUS, namespaced=False),
        _gateway_api("Gateway", "gateways", _BOTH, _GATEWAY, "gtw", columns=_GATEWAY_COLUMNS, status=_GATEWAY_STATUS),
        _gateway_api("HTTPRoute", "httproutes", _BOTH, _HTTP_ROUTE, columns=(("Hostnames", ".spec.hostnames"),), status=_ROUTE_STATUS),
        _gateway_api("GRPCRoute", "grpcroutes", ("v1",), _GRPC_ROUTE, columns=(("Hostnames", ".spec.hostnames"),), status=_ROUTE_STATUS),
        _gateway_api("ReferenceGrant", "referencegrants", ("v1beta1",), _GRANT, "refgrant", status=None),
    ],
}
