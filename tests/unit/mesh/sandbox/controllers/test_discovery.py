"""Reading what the API serves."""

from mesh.sandbox.controllers.discovery import parse_resources
from mesh.sandbox.kubeclient import Resource


def test_subresources_and_what_cannot_be_listed_are_left_out() -> None:
    verbs = ["list", "delete", "get"]
    answer = {
        "groupVersion": "apps/v1",
        "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": verbs},
            {"name": "deployments/status", "kind": "Deployment", "namespaced": True, "verbs": verbs},
            {"name": "reviews", "kind": "Review", "namespaced": False, "verbs": ["create"]},
        ],
    }
    assert parse_resources(answer) == [Resource("apps", "v1", "deployments", "Deployment")]
    assert parse_resources({"groupVersion": "v1", "resources": [{**answer["resources"][0], "name": "pods", "kind": "Pod"}]}) == [Resource("", "v1", "pods", "Pod")]
