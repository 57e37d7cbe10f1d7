import pytest

from injector import shape
from injector.pod import BadPod


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, "the pod: must be a mapping, not 7"),
        ({"metadata": {"labels": []}}, "metadata.labels: must be a mapping"),
        ({"metadata": {"ownerReferences": [{"name": "a", "kind": None}]}}, "metadata.ownerReferences[0].kind: is missing"),
        ({"spec": {"containers": [{"name": "a", "env": "x"}]}}, "spec.containers[0].env: must be a list, not 'x'"),
        ({"spec": {"containers": [None]}}, "spec.containers[0]: must not be null"),
        ({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": "80"}]}]}}, "spec.containers[0].ports[0].containerPort: must be a whole number"),
        ({"spec": {"hostNetwork": "true"}}, "spec.hostNetwork: must be true or false, not 'true'"),
    ],
)
def test_wrong_type_is_named_by_its_path(item: object, message: str) -> None:
    with pytest.raises(BadPod) as caught:
        shape.check(item)
    assert message in str(caught.value)


def test_absent_and_null_fields_are_fine() -> None:
    shape.check({"metadata": None, "spec": {"containers": [{"name": "a", "resources": None}]}})


def test_overrides_and_probers_are_checked_under_their_own_names() -> None:
    with pytest.raises(BadPod, match=r"annotation o\.containers\[0\]\.name: is missing"):
        shape.check_overrides({"containers": [{}]}, "annotation o")
    with pytest.raises(BadPod, match=r"env p\[/x\]: must be a mapping, not 1"):
        shape.check_probers({"/x": 1}, "env p")
