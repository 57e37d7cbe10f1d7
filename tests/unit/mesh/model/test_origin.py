"""How objects and rules are named to people."""

from mesh.model.origin import ObjectRef, Origin


def test_an_origin_names_object_and_rule():
    assert str(Origin("VirtualService", "default", "reviews", "http[0]")) == "VirtualService/default/reviews http[0]"
    assert str(Origin("Service", "default", "reviews")) == "Service/default/reviews"


def test_a_cluster_scoped_object_has_no_namespace():
    assert str(ObjectRef("GatewayClass", "", "istio")) == "GatewayClass/istio"
