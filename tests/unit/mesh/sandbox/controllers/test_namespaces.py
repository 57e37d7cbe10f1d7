"""What namespaces contain."""

from mesh.sandbox.controllers.namespaces import contents, empty
from mesh.sandbox.controllers.plan import Create, Delete, Patch
from mesh.sandbox.kubeclient import CONFIGMAPS, PODS

NAMESPACE = {"metadata": {"name": "ns"}}


def test_a_new_namespace_gets_its_account_and_the_ca() -> None:
    made = [a.body["kind"] for a in contents(NAMESPACE, None, None, "PEM").actions if isinstance(a, Create)]
    assert made == ["ServiceAccount", "ConfigMap"]


def test_a_changed_ca_is_put_right_and_a_good_one_left() -> None:
    wrong = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "old"}}
    assert contents(NAMESPACE, {}, wrong, "PEM").actions == [Patch(CONFIGMAPS, wrong, {"data": {"ca.crt": "PEM"}})]
    assert contents(NAMESPACE, {}, {**wrong, "data": {"ca.crt": "PEM"}}, "PEM").actions == []


def test_a_namespace_that_goes_gets_nothing() -> None:
    assert contents({"metadata": {"name": "ns", "deletionTimestamp": "x"}}, None, None, "PEM").actions == []


def test_pods_are_deleted_first_and_nothing_twice() -> None:
    config, pod, going = ({"metadata": {"name": n}} for n in "cpg")
    going["metadata"]["deletionTimestamp"] = "x"
    assert empty([(CONFIGMAPS, config), (PODS, pod), (PODS, going)]).actions == [Delete(PODS, pod, "Background"), Delete(CONFIGMAPS, config, "Background")]
