"""Configured and measured shares side by side."""

from mesh.cli.routes import PLAIN, _wanted, rows_of

REVIEWS = "reviews.default.svc.cluster.local:9080"
V1, V2 = (f"outbound|9080|{version}|reviews.default.svc.cluster.local" for version in ("v1", "v2"))
ORIGIN = {"kind": "VirtualService", "namespace": "default", "name": "reviews", "rule": "http[0]", "generation": 2}
DUMP = {
    "configs": [
        {
            "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
            "dynamic_route_configs": [
                {
                    "route_config": {
                        "name": "9080",
                        "virtual_hosts": [
                            {
                                "name": REVIEWS,
                                "routes": [
                                    {
                                        "match": {"prefix": "/"},
                                        "route": {"weighted_clusters": {"clusters": [{"name": V1, "weight": 90}, {"name": V2, "weight": 10}]}},
                                        "metadata": {"filter_metadata": {"triomesh.io": ORIGIN}},
                                    }
                                ],
                            },
                            {"name": "details", "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "d"}}]},
                        ],
                    }
                }
            ],
        }
    ]
}


def test_measured_shares_stand_beside_the_configured_ones():
    old, now = ((REVIEWS, "VirtualService/default/reviews http[0]", generation) for generation in "12")
    measured = {old: {V1: 5000.0}, now: {V1: 880.0, V2: 120.0}}
    rows = [(row["target"], row["configured"], row["measured"], row["requests"]) for row in rows_of(DUMP, measured)][:2]
    assert rows == [("reviews.default.svc.cluster.local:9080 (v1)", 90.0, 88.0, 880), ("reviews.default.svc.cluster.local:9080 (v2)", 10.0, 12.0, 120)]


def test_a_route_that_no_object_made_says_so_and_has_no_measure_without_traffic():
    row = list(rows_of(DUMP, {}))[-1]
    assert (row["origin"], row["measured"]) == (PLAIN, None)


def test_services_without_a_route_object_are_shown_on_demand():
    routed, plain = {"service": "reviews:9080", "origin": "HTTPRoute/default/r"}, {"service": "details:9080", "origin": "Service/default/details"}
    assert [_wanted(row, None, everything) for row in (routed, plain) for everything in (False, True)] == [True, True, False, True]
    assert _wanted(plain, "details", False)


def test_matches_that_one_rule_ors_share_a_row():
    made = {"metadata": {"filter_metadata": {"triomesh.io": ORIGIN}}, "route": {"cluster": "p"}}
    routes = [{"match": {"path": "/productpage"}, **made}, {"match": {"prefix": "/static"}, **made}]
    dump = {"configs": [{"@type": "x.RoutesConfigDump", "dynamic_route_configs": [{"route_config": {"name": "r", "virtual_hosts": [{"name": "h", "routes": routes}]}}]}]}
    assert [row["match"] for row in rows_of(dump, {})] == ["/productpage | /static*"]


def test_routes_that_no_object_made_stay_rows_of_their_own():
    routes = [{"match": {"path": path}, "route": {"cluster": "p"}} for path in ("/a", "/b")]
    dump = {"configs": [{"@type": "x.RoutesConfigDump", "dynamic_route_configs": [{"route_config": {"name": "r", "virtual_hosts": [{"name": "h", "routes": routes}]}}]}]}
    assert [row["match"] for row in rows_of(dump, {})] == ["/a", "/b"]
