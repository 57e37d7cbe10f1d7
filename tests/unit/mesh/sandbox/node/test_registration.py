"""The Node object."""

from mesh.sandbox.node.registration import node_object


def test_a_condition_keeps_its_time() -> None:
    first = node_object("n", 2, 1 << 30, 100.0, None)
    again = node_object("n", 2, 1 << 30, 200.0, first)
    ready = next(item for item in again["status"]["conditions"] if item["type"] == "Ready")
    assert (ready["lastTransitionTime"], ready["lastHeartbeatTime"]) == ("1970-01-01T00:01:40Z", "1970-01-01T00:03:20Z")


def test_the_api_server_finds_the_kubelet() -> None:
    status = node_object("n", 2, 1 << 30, 0.0, None)["status"]
    assert {"type": "InternalIP", "address": "198.18.0.1"} in status["addresses"]
    assert status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250
    assert (status["capacity"]["cpu"], status["capacity"]["memory"]) == ("2", "1048576Ki")


def test_a_node_gives_itself_no_label_that_is_the_administrators() -> None:
    """The admission plugin NodeRestriction would refuse it."""
    assert not [label for label in node_object("n", 2, 1 << 30, 0.0, None)["metadata"]["labels"] if label.startswith("node-role.kubernetes.io/")]
