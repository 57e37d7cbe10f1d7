"""Words for Envoy's JSON."""

import pytest

from mesh.cli.describe import (
    Target,
    action_text,
    cluster_text,
    match_text,
    origin_text,
    sections,
    targets,
    tls_text,
    upstream_tls_text,
)
from mesh.model.cluster import Cluster, Discovery, TlsMatch
from mesh.model.secret import UpstreamTls
from tests.support.xds_json import to_json

REVIEWS = "outbound|9080|v1|reviews.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ({"prefix": "/"}, "/*"),
        ({"path": "/login", "case_sensitive": False}, "/login (any case)"),
        ({"path_separated_prefix": "/v2"}, "/v2[/*]"),
        ({"safe_regex": {"regex": "/a.*"}}, "~/a.*"),
        ({"prefix": "/", "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}]}, "/* header end-user=jason"),
        ({"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}, "/* method=GET"),
        ({"prefix": "/", "headers": [{"name": "x", "present_match": True, "invert_match": True}]}, "/* not header x present"),
        ({"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"prefix": "a"}}]}, "/* query q=a*"),
    ],
)
def test_match_text_names_every_condition(match, text):
    assert match_text(match) == text


def test_targets_turn_weights_into_percent():
    route = {"route": {"weighted_clusters": {"clusters": [{"name": REVIEWS, "weight": 9}, {"name": "b", "weight": 1}]}}}
    assert targets(route) == [Target(REVIEWS, 9, 90.0), Target("b", 1, 10.0)]


def test_targets_of_weights_that_are_all_zero_do_not_divide_by_zero():
    assert targets({"route": {"weighted_clusters": {"clusters": [{"name": "a"}]}}}) == [Target("a", 0, 0.0)]


def test_answers_without_cluster_are_described():
    assert action_text({"redirect": {"response_code": "FOUND"}}) == "redirect 302"
    assert action_text({"direct_response": {"status": 418}}) == "answer 418"


def test_cluster_text_keeps_names_that_are_not_istio_s():
    assert cluster_text(REVIEWS) == "reviews.default.svc.cluster.local:9080 (v1)"
    assert cluster_text("PassthroughCluster") == "PassthroughCluster"


def test_origin_text_names_object_and_rule():
    made = {"kind": "VirtualService", "namespace": "default", "name": "reviews", "rule": "http[0]"}
    assert origin_text({"metadata": {"filter_metadata": {"triomesh.io": made}}}) == "VirtualService/default/reviews http[0]"
    assert origin_text({}) == ""


def test_sections_reads_static_and_dynamic_resources():
    dump = {
        "configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [{"cluster": {"name": "a"}}], "dynamic_active_clusters": [{"cluster": {"name": "b"}}]},
            {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{"name": "l", "active_state": {"listener": {"name": "l"}}}], "static_listeners": [{"listener": {"name": "s"}}]},
        ]
    }
    assert [cluster["name"] for cluster in sections(dump, "clusters")] == ["a", "b"]
    assert [listener["name"] for listener in sections(dump, "listeners")] == ["s", "l"]


MESH, OWN = UpstreamTls("default", "ROOTCA"), UpstreamTls(system_roots=True)


@pytest.mark.parametrize(
    ("tls", "matches", "text"),
    [
        (None, (), "-"),
        (OWN, (), "own"),
        (MESH, (), "mesh"),
        (None, (TlsMatch("a", "istio", MESH), TlsMatch("b", "", None)), "auto"),
        (None, (TlsMatch("b", "", None),), "-"),
    ],
)
def test_tls_is_told_in_a_word(tls, matches, text):
    assert upstream_tls_text(to_json(Cluster("c", Discovery.EDS, tls=tls, tls_matches=matches))) == text


def test_a_plaintext_chain_has_no_tls():
    assert tls_text({}) == tls_text({"typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}) == "-"
