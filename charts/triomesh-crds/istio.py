"""Istio's kinds: networking.istio.io, security.istio.io, telemetry.istio.io. Field names and limits are Istio's.

EnvoyFilter, WasmPlugin and ProxyConfig are absent on purpose: what cannot be honoured is refused by the API server
rather than stored and ignored.
"""

from schema import (
    BOOL,
    DURATION,
    INT32,
    MAYBE,
    PORT,
    STR,
    STRINGS,
    UINT32,
    Schema,
    arr,
    crd,
    enum,
    mapping,
    number,
    obj,
    one_of,
    req,
    text,
    whole,
)  # fmt: skip

_PERCENT = obj(value=number(0, 100))
_MATCH = obj(one_of("exact", "prefix", "regex"), exact=STR, prefix=STR, regex=STR)
_LABELS = mapping(text(most=63))
_DESTINATION = obj(host=req(STR), subset=STR, port=obj(number=PORT))
_HEADER_EDIT = obj(set=mapping(STR), add=mapping(STR), remove=STRINGS)
_HEADERS = obj(request=_HEADER_EDIT, response=_HEADER_EDIT)
_STATUS = whole(200, 599)

_HTTP_MATCH = obj(
    name=STR, uri=_MATCH, scheme=_MATCH, method=_MATCH, authority=_MATCH, headers=mapping(_MATCH), port=PORT,
    sourceLabels=_LABELS, gateways=STRINGS, queryParams=mapping(_MATCH), ignoreUriCase=BOOL, withoutHeaders=mapping(_MATCH),
    sourceNamespace=STR, statPrefix=STR,
)  # fmt: skip
_FAULT = obj(
    delay=obj(one_of("fixedDelay", "exponentialDelay"), percent=whole(0, 100), percentage=_PERCENT, fixedDelay=DURATION, exponentialDelay=DURATION),
    abort=obj(one_of("httpStatus", "grpcStatus", "http2Error"), percentage=_PERCENT, httpStatus=_STATUS, grpcStatus=STR, http2Error=STR),
)  # fmt: skip
_REDIRECT = obj(
    one_of("port", "derivePort"), uri=STR, authority=STR, port=PORT, scheme=STR, redirectCode=whole(300, 399),
    derivePort=enum("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
)  # fmt: skip
_RETRIES = obj(
    attempts=whole(0), perTryTimeout=DURATION, retryOn=STR, retryRemoteLocalities=MAYBE, retryIgnorePreviousHosts=MAYBE, backoff=DURATION
)
_CORS = obj(
    allowOrigin=STRINGS, allowOrigins=arr(_MATCH), allowMethods=STRINGS, allowHeaders=STRINGS, exposeHeaders=STRINGS,
    maxAge=DURATION, allowCredentials=MAYBE, unmatchedPreflights=enum("UNSPECIFIED", "FORWARD", "IGNORE"),
)  # fmt: skip
_WEIGHT = whole(0)
_HTTP = obj(
    name=STR,
    match=arr(_HTTP_MATCH),
    route=arr(obj(destination=req(_DESTINATION), weight=_WEIGHT, headers=_HEADERS)),
    redirect=_REDIRECT,
    directResponse=obj(status=req(_STATUS), body=obj(one_of("string", "bytes"), string=STR, bytes=text(format="byte"))),
    delegate=obj(name=STR, namespace=STR),
    rewrite=obj(uri=STR, authority=STR, uriRegexRewrite=obj(match=STR, rewrite=STR)),
    timeout=DURATION,
    retries=_RETRIES,
    fault=_FAULT,
    mirror=_DESTINATION,
    mirrors=arr(obj(destination=req(_DESTINATION), percentage=_PERCENT)),
    mirrorPercent=whole(0, 100, nullable=True),
    mirror_percent=whole(0, 100, nullable=True),
    mirrorPercentage=_PERCENT,
    corsPolicy=_CORS,
    headers=_HEADERS,
)
_L4_ROUTE = arr(obj(destination=req(_DESTINATION), weight=_WEIGHT))
_L4_MATCH: dict[str, Schema] = {
    "destinationSubnets": STRINGS, "port": PORT, "sourceLabels": _LABELS, "gateways": STRINGS, "sourceNamespace": STR,
}  # fmt: skip
_VIRTUAL_SERVICE = obj(
    hosts=STRINGS,
    gateways=STRINGS,
    http=arr(_HTTP),
    tls=arr(obj(match=req(arr(obj(sniHosts=req(STRINGS), **_L4_MATCH))), route=_L4_ROUTE)),
    tcp=arr(obj(match=arr(obj(sourceSubnet=STR, **_L4_MATCH)), route=_L4_ROUTE)),
    exportTo=STRINGS,
)

_CONNECTION_POOL = obj(
    tcp=obj(
        maxConnections=INT32,
        connectTimeout=DURATION,
        tcpKeepalive=obj(probes=UINT32, time=DURATION, interval=DURATION),
        maxConnectionDuration=DURATION,
        idleTimeout=DURATION,
    ),
    http=obj(
        http1MaxPendingRequests=INT32, http2MaxRequests=INT32, maxRequestsPerConnection=INT32, maxRetries=INT32, idleTimeout=DURATION,
        h2UpgradePolicy=enum("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"), useClientProtocol=BOOL, maxConcurrentStreams=INT32,
    ),
)  # fmt: skip
_CONSISTENT_HASH = obj(
    {"allOf": [
        one_of("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"),
        one_of("ringHash", "maglev"),
    ]},
    httpHeaderName=STR, httpCookie=obj(name=req(STR), path=STR, ttl=DURATION), useSourceIp=BOOL, httpQueryParameterName=STR,
    ringHash=obj(minimumRingSize=whole(0)), maglev=obj(tableSize=whole(0)), minimumRingSize=whole(0),
)  # fmt: skip
_LOAD_BALANCER = obj(
    one_of("simple", "consistentHash"),
    simple=enum("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"),
    consistentHash=_CONSISTENT_HASH,
    localityLbSetting=obj(
        distribute=arr(obj(from_=STR, to=mapping(UINT32))),
        failover=arr(obj(from_=STR, to=STR)),
        failoverPriority=STRINGS,
        enabled=MAYBE,
    ),
    warmupDurationSecs=DURATION,
    warmup=obj(duration=req(DURATION), minimumPercent=number(0, 100) | {"nullable": True}, aggression=number(1) | {"nullable": True}),
)
_NULLABLE_COUNT = UINT32 | {"nullable": True}
_OUTLIER = obj(
    consecutiveErrors=INT32, splitExternalLocalOriginErrors=BOOL, consecutiveLocalOriginFailures=_NULLABLE_COUNT,
    consecutiveGatewayErrors=_NULLABLE_COUNT, consecutive5xxErrors=_NULLABLE_COUNT, interval=DURATION, baseEjectionTime=DURATION,
    maxEjectionPercent=whole(0, 100), minHealthPercent=whole(0, 100),
)  # fmt: skip
_CLIENT_TLS = obj(
    mode=enum("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), clientCertificate=STR, privateKey=STR, caCertificates=STR,
    credentialName=STR, subjectAltNames=STRINGS, sni=STR, insecureSkipVerify=MAYBE, caCrl=STR,
)  # fmt: skip
_POLICY: dict[str, Schema] = {
    "loadBalancer": _LOAD_BALANCER, "connectionPool": _CONNECTION_POOL, "outlierDetection": _OUTLIER, "tls": _CLIENT_TLS,
}  # fmt: skip
_TRAFFIC_POLICY = obj(
    **_POLICY,
    portLevelSettings=arr(obj(port=obj(number=PORT), **_POLICY), most=4096),
    tunnel=obj(protocol=enum("CONNECT", "POST"), targetHost=req(STR), targetPort=req(PORT)),
    proxyProtocol=obj(version=enum("V1", "V2")),
    retryBudget=obj(percent=number(0, 100) | {"nullable": True}, minRetryConcurrency=UINT32),
)
_WORKLOAD_LABELS = obj(labels=mapping(text(r"^[^*]*$", most=63), most=256))
_SELECTOR = obj(matchLabels=mapping(text(r"^[^*]*$", most=63), most=4096))
_DESTINATION_RULE = obj(
    host=req(STR),
    trafficPolicy=_TRAFFIC_POLICY,
    subsets=arr(obj(name=req(STR), labels=mapping(STR), trafficPolicy=_TRAFFIC_POLICY)),
    exportTo=STRINGS,
    workloadSelector=_SELECTOR,
)

_TLS_VERSION = enum("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")
_SERVER_TLS = obj(
    httpsRedirect=BOOL, mode=enum("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"),
    serverCertificate=STR, privateKey=STR, caCertificates=STR, caCrl=STR, credentialName=STR,
    credentialNames=arr(STR, least=1, most=2), subjectAltNames=STRINGS, verifyCertificateSpki=STRINGS, verifyCertificateHash=STRINGS,
    minProtocolVersion=_TLS_VERSION, maxProtocolVersion=_TLS_VERSION, cipherSuites=STRINGS,
    tlsCertificates=arr(obj(serverCertificate=STR, privateKey=STR, caCertificates=STR), least=1, most=2),
)  # fmt: skip
_GATEWAY = obj(
    servers=arr(
        obj(
            name=STR,
            port=req(obj(number=req(PORT), protocol=req(STR), name=req(STR), targetPort=PORT)),
            bind=STR,
            hosts=req(STRINGS),
            tls=_SERVER_TLS,
            defaultEndpoint=STR,
        )
    ),
    selector=mapping(STR),
)

_WORKLOAD: dict[str, Schema] = {
    "address": text(most=256), "ports": mapping(PORT, most=128), "labels": mapping(STR, most=256), "network": text(most=2048),
    "locality": text(most=2048), "weight": UINT32, "serviceAccount": text(most=253),
}  # fmt: skip
_WORKLOAD_ENTRY = obj({"anyOf": [{"required": ["address"]}, {"required": ["network"]}]}, **_WORKLOAD)
_SERVICE_ENTRY = obj(
    {"not": {"required": ["workloadSelector", "endpoints"]}},
    hosts=req(arr(text(r"^([^*]|\*.)", least=1), least=1, most=256)),
    addresses=arr(text(most=64), most=256),
    ports=arr(obj(number=req(PORT), name=req(text(most=256)), protocol=text(most=256), targetPort=PORT), most=256, keys=["name"]),
    location=enum("MESH_EXTERNAL", "MESH_INTERNAL"),
    resolution=enum("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"),
    endpoints=arr(_WORKLOAD_ENTRY, most=4096),
    workloadSelector=_WORKLOAD_LABELS,
    exportTo=STRINGS,
    subjectAltNames=STRINGS,
)
_SIDECAR_PORT = obj(number=PORT, protocol=STR, name=STR, targetPort=PORT)
_CAPTURE = enum("DEFAULT", "IPTABLES", "NONE")
_SIDECAR = obj(
    workloadSelector=_WORKLOAD_LABELS,
    ingress=arr(
        obj(port=req(_SIDECAR_PORT), bind=STR, captureMode=_CAPTURE, defaultEndpoint=STR, tls=_SERVER_TLS, connectionPool=_CONNECTION_POOL)
    ),
    egress=arr(obj(port=_SIDECAR_PORT, bind=STR, captureMode=_CAPTURE, hosts=req(STRINGS))),
    inboundConnectionPool=_CONNECTION_POOL,
    outboundTrafficPolicy=obj(mode=enum("REGISTRY_ONLY", "ALLOW_ANY"), egressProxy=_DESTINATION),
)

_GROUP_NAME = text(r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", most=253)
_TARGET_REF = obj(
    group=_GROUP_NAME, kind=req(text(r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", 1, 63)), name=req(text(least=1, most=253)),
    namespace=text(r"^$"),
)  # fmt: skip
_ATTACH: dict[str, Schema] = {"selector": _SELECTOR, "targetRef": _TARGET_REF, "targetRefs": arr(_TARGET_REF, most=16)}
_ATTACHED_ONCE = one_of("selector", "targetRef", "targetRefs")
_SOURCE = {name: STRINGS for word in ("principals", "requestPrincipals", "namespaces", "ipBlocks", "remoteIpBlocks") for name in (word, f"not{word[0].upper()}{word[1:]}")}  # fmt: skip
_SOURCE |= {name: arr(text(most=320), most=16) for name in ("serviceAccounts", "notServiceAccounts")}
_OPERATION = {name: STRINGS for word in ("hosts", "ports", "methods", "paths") for name in (word, f"not{word.capitalize()}")}
_AUTHORIZATION_POLICY = obj(
    _ATTACHED_ONCE,
    action=enum("ALLOW", "DENY", "AUDIT", "CUSTOM"),
    provider=obj(name=STR),
    rules=arr(
        obj(
            from_=arr(obj(source=obj(**_SOURCE)), most=512),
            to=arr(obj(operation=obj(**_OPERATION))),
            when=arr(obj(key=req(STR), values=STRINGS, notValues=STRINGS)),
        ),
        most=512,
    ),
    **_ATTACH,
)
_MTLS = obj(mode=enum("UNSET", "DISABLE", "PERMISSIVE", "STRICT"))
# A port's own mode concerns certain workloads.
_NAMES_WORKLOADS: Schema = {"anyOf": [
    {"not": {"required": ["portLevelMtls"]}},
    {"required": ["selector"], "properties": {"selector": {"required": ["matchLabels"], "properties": {"matchLabels": {"minProperties": 1}}}}},
]}  # fmt: skip
_PEER_AUTHENTICATION = obj(_NAMES_WORKLOADS, selector=_SELECTOR, mtls=_MTLS, portLevelMtls=mapping(_MTLS) | {"minProperties": 1})
_URL = text(r"^https?://", 1, 2048)
_NAME = text(least=1)
_JWT_RULE = obj(
    one_of("jwksUri", "jwks_uri", "jwks"),
    issuer=_NAME,
    audiences=arr(_NAME),
    jwksUri=_URL,
    jwks_uri=_URL,
    jwks=STR,
    fromHeaders=arr(obj(name=req(_NAME), prefix=STR)),
    fromParams=arr(_NAME),
    fromCookies=arr(_NAME),
    outputPayloadToHeader=STR,
    forwardOriginalToken=BOOL,
    outputClaimToHeaders=arr(obj(header=req(text(r"^[-_A-Za-z0-9]+$", 1)), claim=req(_NAME))),
    timeout=DURATION,
)
_REQUEST_AUTHENTICATION = obj(_ATTACHED_ONCE, jwtRules=arr(_JWT_RULE, most=4096), **_ATTACH)

_MODE = enum("CLIENT_AND_SERVER", "CLIENT", "SERVER")
_PROVIDERS = arr(obj(name=req(_NAME)))
_HAS_VALUE: Schema = {"anyOf": [
    {"not": {"required": ["operation"], "properties": {"operation": {"enum": ["UPSERT"]}}}},
    {"required": ["value"], "properties": {"value": {"minLength": 1}}},
]}  # fmt: skip
_METRIC = enum(
    "ALL_METRICS", "REQUEST_COUNT", "REQUEST_DURATION", "REQUEST_SIZE", "RESPONSE_SIZE", "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS", "TCP_SENT_BYTES", "TCP_RECEIVED_BYTES", "GRPC_REQUEST_MESSAGES", "GRPC_RESPONSE_MESSAGES",
)  # fmt: skip
_CUSTOM_TAG = obj(
    one_of("literal", "environment", "header", "formatter"),
    literal=obj(value=req(_NAME)),
    environment=obj(name=req(_NAME), defaultValue=STR),
    header=obj(name=req(_NAME), defaultValue=STR),
    formatter=obj(value=req(_NAME)),
)
_TELEMETRY = obj(
    _ATTACHED_ONCE,
    tracing=arr(
        obj(
            match=obj(mode=_MODE), providers=_PROVIDERS, randomSamplingPercentage=number(0, 100) | {"nullable": True},
            disableSpanReporting=MAYBE, customTags=mapping(_CUSTOM_TAG), useRequestIdForTraceSampling=MAYBE, enableIstioTags=MAYBE,
        )
    ),
    metrics=arr(
        obj(
            providers=_PROVIDERS,
            overrides=arr(
                obj(
                    match=obj(one_of("metric", "customMetric"), metric=_METRIC, customMetric=_NAME, mode=_MODE),
                    disabled=MAYBE,
                    tagOverrides=mapping(obj(_HAS_VALUE, operation=enum("UPSERT", "REMOVE"), value=STR)),
                )
            ),
            reportingInterval=DURATION,
        )
    ),
    accessLogging=arr(obj(match=obj(mode=_MODE), providers=_PROVIDERS, disabled=MAYBE, filter=obj(expression=STR))),
    **_ATTACH,
)  # fmt: skip

_NETWORKING, _SECURITY, _TELEMETRY_GROUP = "networking.istio.io", "security.istio.io", "telemetry.istio.io"
_ALL = ("v1", "v1beta1", "v1alpha3")
_HOSTS = ("Hosts", ".spec.hosts")


def _istio(group: str, kind: str, plural: str, versions: tuple[str, ...], spec: Schema, *short: str, **columns: str) -> Schema:
    category = ("istio-io", f"{group.split('.')[0]}-istio-io")
    return crd(group, kind, plural, versions, spec, short=short, columns=tuple(columns.items()), category=category)


FILES = {
    "networking.istio.io.yaml": [
        _istio(_NETWORKING, "VirtualService", "virtualservices", _ALL, _VIRTUAL_SERVICE, "vs", Gateways=".spec.gateways", Hosts=".spec.hosts"),
        _istio(_NETWORKING, "DestinationRule", "destinationrules", _ALL, _DESTINATION_RULE, "dr", Host=".spec.host"),
        _istio(_NETWORKING, "Gateway", "gateways", _ALL, _GATEWAY, "gw"),
        _istio(_NETWORKING, "ServiceEntry", "serviceentries", _ALL, _SERVICE_ENTRY, "se", Hosts=".spec.hosts", Location=".spec.location", Resolution=".spec.resolution"),
        _istio(_NETWORKING, "Sidecar", "sidecars", _ALL, _SIDECAR),
        _istio(_NETWORKING, "WorkloadEntry", "workloadentries", _ALL, _WORKLOAD_ENTRY, "we", Address=".spec.address"),
    ],
    "security.istio.io.yaml": [
        _istio(_SECURITY, "AuthorizationPolicy", "authorizationpolicies", ("v1", "v1beta1"), _AUTHORIZATION_POLICY, "ap", Action=".spec.action"),
        _istio(_SECURITY, "PeerAuthentication", "peerauthentications", ("v1", "v1beta1"), _PEER_AUTHENTICATION, "pa", Mode=".spec.mtls.mode"),
        _istio(_SECURITY, "RequestAuthentication", "requestauthentications", ("v1", "v1beta1"), _REQUEST_AUTHENTICATION, "ra"),
    ],
    "telemetry.istio.io.yaml": [
        _istio(_TELEMETRY_GROUP, "Telemetry", "telemetries", ("v1", "v1alpha1"), _TELEMETRY, "telemetry"),
    ],
}  # fmt: skip
