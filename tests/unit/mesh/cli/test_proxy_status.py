"""A proxy's row."""

from mesh.cli.proxy_status import row

NODE = "sidecar~198.18.1.9~productpage-v1-abc.default~default.svc.cluster.local"


def test_a_synced_proxy():
    made = row({"node": NODE, "types": {"CLUSTER": {"synced": 29}, "ROUTE": {"synced": 7}}}, "control-1")
    assert (made["proxy"], made["role"], made["cds"], made["rds"], made["lds"], made["rejected"]) == ("productpage-v1-abc.default", "sidecar", "SYNCED (29)", "SYNCED (7)", "", "")


def test_the_worst_state_shows():
    made = row({"node": NODE, "types": {"LISTENER": {"synced": 13, "error": 1}, "ENDPOINT": {"synced": 1, "stale": 2}}}, "c")
    assert (made["lds"], made["eds"]) == ("ERROR (1 of 14)", "STALE (2 of 3)")


def test_a_rejection_is_quoted():
    made = row({"node": NODE, "errors": [{"type": "LISTENER", "name": "l", "message": "no such filter"}]}, "c")
    assert made["rejected"] == "LISTENER l: no such filter"


def test_a_foreign_node_id_is_shown_as_it_is():
    assert row({"node": "envoy-1"}, "c")["proxy"] == "envoy-1"
