"""Objects that use every field the translation supports, on top of bookinfo."""

from __future__ import annotations

RICH = r"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rich}
spec:
  hosts: [ratings]
  http:
  - name: everything
    match:
    - uri: {regex: "/a/.*"}
      headers: {x: {regex: "a.*"}, y: {}, z: {prefix: q}}
      withoutHeaders: {n: {exact: m}, o: {}}
      queryParams: {q: {exact: "1"}, r: {regex: "\\d+"}}
      method: {exact: GET}
      scheme: {exact: http}
      authority: {prefix: rat}
    rewrite: {uriRegexRewrite: {match: "^/a/(.*)$", rewrite: "/b/\\1"}, authority: foo}
    route:
    - destination: {host: ratings, subset: v1}
      weight: 1
      headers: {request: {set: {a: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}, add: {b: c}, remove: [d]}}
    - destination: {host: reviews, port: {number: 9080}}
      weight: 2
    headers: {request: {set: {e: f}}, response: {add: {g: h}, remove: [i]}}
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "5xx,503,reset"}
    timeout: 5s
    mirror: {host: details}
    mirrorPercentage: {value: 12.5}
    corsPolicy: {allowOrigins: [{exact: a}, {regex: "b.*"}], allowMethods: [GET], maxAge: 24h, allowCredentials: true}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {httpStatus: 555, percentage: {value: 50}}}
  - match: [{uri: {prefix: /r}}]
    redirect: {uri: /x, authority: y.z, port: 81, redirectCode: 308, scheme: https}
  - match: [{uri: {exact: /d}}]
    directResponse: {status: 418, body: {string: hi}}
  - match: [{uri: {prefix: /p}, ignoreUriCase: true}]
    rewrite: {uri: /q}
    retries: {attempts: 0}
    route: [{destination: {host: ratings}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings-rich}
spec:
  host: ratings
  trafficPolicy:
    loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 0s}}}
    connectionPool:
      tcp: {maxConnections: 5, connectTimeout: 30ms, tcpKeepalive: {time: 7200s, interval: 75s}}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 10, maxRequestsPerConnection: 10, maxRetries: 1, idleTimeout: 5s, h2UpgradePolicy: UPGRADE}
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}
  subsets:
  - {name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X, maglev: {}}}}}
---
apiVersion: v1
kind: Service
metadata: {name: mysqldb}
spec: {selector: {app: mysqldb}, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: auto}
spec: {selector: {app: auto}, ports: [{port: 7000}, {name: tcp-db, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {selector: {app: auto}, clusterIP: None, ports: [{name: http, port: 7001}, {name: tcp-x, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ext}
spec: {type: ExternalName, externalName: example.com, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: net}
spec: {hosts: [net.example], addresses: [198.18.240.0/24], ports: [{number: 5000, name: tcp, protocol: TCP}, {number: 443, name: tls, protocol: TLS}], resolution: NONE}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: rich}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["default/a.example.com", "*.b.com"], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["sni.example.com"], tls: {mode: PASSTHROUGH}}
  - {port: {number: 9999, name: tcp, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rich-gateway}
spec:
  hosts: [a.example.com, x.b.com, sni.example.com]
  gateways: [rich]
  http: [{route: [{destination: {host: reviews}}]}]
  tls: [{match: [{port: 443, sniHosts: [sni.example.com]}], route: [{destination: {host: mysqldb}}]}]
  tcp: [{match: [{port: 9999}], route: [{destination: {host: mysqldb}, weight: 10}, {destination: {host: auto, port: {number: 7000}}, weight: 90}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rich}
spec:
  parentRefs: [{group: "", kind: Service, name: details}]
  rules:
  - name: named
    matches:
    - {path: {type: PathPrefix, value: /v2}, headers: [{name: Version, value: two}], queryParams: [{name: q, type: RegularExpression, value: "a+"}], method: GET}
    - {path: {type: Exact, value: /e}}
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: "1%"}], add: [{name: b, value: c}], remove: [d]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: e, value: f}]}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: ratings, port: 9080}, percent: 42}}
    - {type: URLRewrite, urlRewrite: {hostname: h.example, path: {type: ReplaceFullPath, replaceFullPath: /full}}}
    - {type: CORS, cors: {allowOrigins: ["https://*.x"], allowMethods: [GET], maxAge: 10}}
    timeouts: {request: 10s, backendRequest: 2s}
    retry: {attempts: 2, codes: [503], backoff: 100ms}
    backendRefs:
    - {name: details, port: 9080, weight: 3, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: y}]}}]}
    - {name: nobody, port: 1, weight: 1}
  - matches: [{path: {value: /old}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: details, port: 9080}]
  - matches: [{path: {value: /moved}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: m.example, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
  - backendRefs: [{name: details, port: 9080}]
"""
