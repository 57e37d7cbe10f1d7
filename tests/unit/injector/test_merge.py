from injector.merge import merge_container

OURS = {
    "name": "triomesh-proxy", "image": "ours", "args": ["sidecar"],
    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
    "ports": [{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"}],
    "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
}  # fmt: skip


def test_image_auto_and_the_name_stay_ours() -> None:
    assert merge_container(OURS, {"name": "istio-proxy", "image": "auto"}) == OURS
    assert merge_container(OURS, {"name": "istio-proxy", "image": "mine:1"})["image"] == "mine:1"


def test_keyed_lists_merge_by_key_and_append() -> None:
    merged = merge_container(
        OURS,
        {"env": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}], "ports": [{"containerPort": 15090, "hostPort": 1}, {"containerPort": 80}]},
    )
    assert merged["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]
    assert merged["ports"] == [{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP", "hostPort": 1}, {"containerPort": 80}]


def test_mappings_merge_null_deletes_and_plain_lists_are_replaced() -> None:
    merged = merge_container(OURS, {"resources": {"limits": {"cpu": None, "x/gpu": "1"}}, "args": ["router"]})
    assert merged["resources"] == {"limits": {"memory": "1Gi", "x/gpu": "1"}}
    assert merged["args"] == ["router"]
    assert OURS["args"] == ["sidecar"]
