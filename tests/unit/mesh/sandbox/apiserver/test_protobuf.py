from __future__ import annotations

import pytest

from mesh.sandbox.apiserver.protobuf import BadProtobuf, decode


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw) + field(3, b"") + field(4, b"")


def test_what_kubectl_sends_to_create_a_token() -> None:
    sent = bytes.fromhex(
        "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52657175657374121a0a100a0012001a0022002a0032003800420012001a040a0012001a002200"
    )
    assert decode(sent, "authentication.v1.TokenRequest") == {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}


def test_deployment_with_every_sort_of_field() -> None:
    meta = field(1, b"web") + field(3, b"") + field(11, field(1, b"app") + field(2, b"w")) + field(8, b"") + field(7, 0)
    port = field(1, b"") + field(2, 0) + field(3, 80) + field(4, b"TCP")
    resources = field(1, field(1, b"cpu") + field(2, field(1, b"100m")))
    probe = field(1, field(2, field(1, b"/healthz") + field(2, field(1, 1) + field(2, 0) + field(3, b"http")) + field(3, b""))) + field(2, 5)
    container = field(1, b"c") + field(2, b"img") + field(6, port) + field(8, resources) + field(10, probe)
    template = field(1, b"") + field(2, field(2, container) + field(4, 0))
    spec = field(1, 0) + field(2, field(1, field(1, b"app") + field(2, b"w"))) + field(3, template) + field(5, 0) + field(7, 1)
    made = decode(envelope("apps/v1", "Deployment", field(1, meta) + field(2, spec) + field(3, b"")), "apps.v1.Deployment")
    assert made == {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "w"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "w"}}, "paused": True, "template": {"spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "img", "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {"limits": {"cpu": "100m"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "initialDelaySeconds": 5}}]}}},
    }  # fmt: skip


def test_bytes_times_and_negative_numbers() -> None:
    secret = field(1, field(1, b"s") + field(8, field(1, 1893456000))) + field(2, field(1, b"k") + field(2, b"\x00\xff"))
    assert decode(envelope("v1", "Secret", secret), "core.v1.Secret") == {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "creationTimestamp": "2030-01-01T00:00:00Z"}, "data": {"k": "AP8="}}  # fmt: skip
    priority = field(1, field(1, b"p")) + field(2, -5)
    assert decode(envelope("v1", "PriorityClass", priority), "scheduling.v1.PriorityClass")["value"] == -5


@pytest.mark.parametrize("data", [b"", b"{}", b"k8s\x00\x0a\x05ab", b"k8s\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", envelope("v1", "Pod", field(99, 1)), b"k8s\x00\x0b", envelope("v1", "Pod", field(1, field(1, b"\xff")))])
def test_malformed_bodies_are_refused(data: bytes) -> None:
    with pytest.raises(BadProtobuf):
        decode(data, "core.v1.Pod")
