"""What the status of Istio's objects should say."""

from __future__ import annotations

from mesh.control.status import plan
from mesh.model.origin import ObjectRef
from tests.support.world_status import NOW, cluster, short, statuses

REVIEWS = "virtualservices.networking.istio.io/reviews"


def test_a_good_virtual_service() -> None:
    made = cluster("networking/destination-rule-all.yaml", "networking/virtual-service-reviews-90-10.yaml")
    status = statuses(made)[REVIEWS]
    assert short(status["conditions"]) == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "ResolvedRefs"),
        "Programmed": ("True", "Programmed"),
    }
    assert status["validationMessages"] == []


def test_a_dangling_subset_is_a_reference() -> None:
    status = statuses(cluster("networking/virtual-service-reviews-90-10.yaml"))[REVIEWS]
    assert short(status["conditions"])["ResolvedRefs"] == ("False", "ReferencedResourceNotFound")
    assert short(status["conditions"])["Accepted"] == ("True", "Accepted")
    assert status["validationMessages"][0]["field"] == "spec.http[0].route[0].destination.subset"


def test_mutual_tls_is_nothing_to_remark_on() -> None:
    found = statuses(cluster("networking/destination-rule-all-mtls.yaml"))
    for name in ("productpage", "details"):
        status = found[f"destinationrules.networking.istio.io/{name}"]
        assert short(status["conditions"])["Accepted"] == ("True", "Accepted")
        assert [message["type"]["name"] for message in status["validationMessages"] if "tls" in message["field"].lower()] == []


def test_a_sidecar_that_limits_hosts_is_accepted() -> None:
    made = cluster()
    made.apply("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\nspec: {egress: [{hosts: ['./*']}]}")
    assert short(statuses(made)["sidecars.networking.istio.io/default"]["conditions"])["Accepted"] == ("True", "Accepted")


UNENFORCED = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-all, generation: 2}
spec: {}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh-default}
spec: {accessLogging: [{disabled: true}]}
"""


def test_what_has_no_effect_says_so() -> None:
    made = cluster()
    made.apply(UNENFORCED)
    found = statuses(made)
    policy = found["authorizationpolicies.security.istio.io/deny-all"]
    assert short(policy["conditions"]) == {"Accepted": ("False", "NotSupported")}
    assert "NetworkPolicies" in policy["conditions"][0]["message"]
    assert policy["validationMessages"][0]["level"] == "ERROR"
    assert policy["observedGeneration"] == 2
    assert short(found["telemetries.telemetry.istio.io/mesh-default"]["conditions"]) == {"Accepted": ("False", "NotSupported")}


def test_peer_authentication_is_accepted_and_what_is_wrong_with_it_is_told() -> None:
    made = cluster()
    head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s}\nspec: "
    made.apply(head % "strict" + "{mtls: {mode: STRICT}}")
    made.apply(head % "late" + "{mtls: {mode: DISABLE}}")
    made.apply(head % "odd" + "{selector: {matchLabels: {app: web}}, mtls: {mode: strict}}")
    found = {name.rpartition("/")[2]: s for name, s in statuses(made).items() if name.startswith("peerauthentications.")}
    assert short(found["strict"]["conditions"])["Accepted"] == ("True", "Accepted")
    assert short(found["odd"]["conditions"])["Accepted"] == ("False", "UnsupportedValue")
    (message,) = found["late"]["validationMessages"]
    assert (message["type"]["name"], message["level"]) == ("Conflict", "WARNING")


def test_a_refusal_by_a_proxy_reaches_the_object() -> None:
    made = cluster("networking/destination-rule-all.yaml", "networking/virtual-service-reviews-90-10.yaml")
    ref = ObjectRef("VirtualService", "default", "reviews", "networking.istio.io")
    status = statuses(made, nacks={ref: "bad regex"})[REVIEWS]
    assert short(status["conditions"])["Programmed"] == ("False", "ProxyRejected")


def test_what_is_already_so_is_not_written() -> None:
    made = cluster("networking/destination-rule-all.yaml", "gateway-api/route-all-v1.yaml", "gateway-api/bookinfo-gateway.yaml")
    graph = made.graph()
    first = plan(graph, lambda _ref: {}, {}, NOW)
    written = {patch.meta.ref: patch.status for patch in first}
    assert plan(graph, lambda ref: written[ref], {}, "2026-02-02T00:00:00Z") == []
