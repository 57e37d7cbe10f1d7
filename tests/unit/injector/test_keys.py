from injector import keys
from injector.keys import Given


def test_our_key_wins_over_the_alias_and_the_alias_is_understood() -> None:
    both = {"sidecar.istio.io/inject": "false", "sidecar.triomesh.io/inject": "true"}
    assert keys.find(both, keys.SIDECAR, "inject") == Given("sidecar.triomesh.io/inject", "true")
    del both["sidecar.triomesh.io/inject"]
    assert keys.find(both, keys.SIDECAR, "inject") == Given("sidecar.istio.io/inject", "false")
    assert keys.find({}, keys.SIDECAR, "inject") is None


def test_empty_value_is_a_value() -> None:
    found = keys.find({"traffic.sidecar.istio.io/includeInboundPorts": ""}, keys.TRAFFIC, "includeInboundPorts")
    assert found is not None
    assert found.value == ""


def test_unknown_keys_are_told_apart_by_whose_they_are() -> None:
    notes = {
        "sidecar.triomesh.io/proxyCpu": "1",
        "sidecar.istio.io/bootstrapOverride": "x",
        "traffic.sidecar.triomesh.io/excludeInboundPorts": "1",
        "other.example/x": "y",
    }
    assert keys.unknown(notes) == (["sidecar.triomesh.io/proxyCpu"], ["sidecar.istio.io/bootstrapOverride"])
