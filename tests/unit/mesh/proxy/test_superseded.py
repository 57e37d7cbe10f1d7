from dataclasses import replace

import pytest

from mesh.model.addr import Address
from mesh.model.listener import ChainMatch, FilterChain, Listener, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.proxy.superseded import is_superseded, judge

ONE = FilterChain(TcpProxy("one", (WeightedCluster("a"),)), ChainMatch(destination_port=1))
TWO = FilterChain(TcpProxy("two", (WeightedCluster("a"),)), ChainMatch(destination_port=2))
REST = FilterChain(TcpProxy("rest", (WeightedCluster("a"),)))
BEFORE = Listener("x", Address("0.0.0.0", 15006), (ONE, TWO), default_chain=REST)


@pytest.mark.parametrize(
    ("now", "superseded"),
    [
        (BEFORE, set()),
        (replace(BEFORE), set()),
        (replace(BEFORE, chains=(TWO, ONE)), set()),
        (replace(BEFORE, chains=(ONE,)), {"two"}),
        (replace(BEFORE, chains=(ONE, replace(TWO, filter=TcpProxy("two", (WeightedCluster("b"),))))), {"two"}),
        (replace(BEFORE, chains=(ONE, replace(TWO, match=ChainMatch(destination_port=3)))), {"two"}),
        (replace(BEFORE, default_chain=None), {"rest"}),
        (replace(BEFORE, address=Address("0.0.0.0", 15007)), {"one", "two", "rest", "arriving"}),
        (replace(BEFORE, chains=(ONE,), default_chain=None), {"two", "rest", "arriving"}),
        (None, {"one", "two", "rest", "arriving"}),
    ],
)
def test_only_chains_that_changed_go(now: Listener | None, superseded: set[str]) -> None:
    chains = {"one": ONE, "two": TWO, "rest": REST, "arriving": None}
    found = {name for name, chain in chains.items() if is_superseded(BEFORE, chain, now)}
    # Of what has not chosen its chain yet, nobody knows whether it changed.
    assert found - {"arriving"} == superseded - {"arriving"}
    assert ("arriving" in found) is (now != BEFORE)


def test_a_listener_is_found_by_its_name() -> None:
    judged = judge({"x": BEFORE})
    assert not judged(BEFORE, ONE) and judged(replace(BEFORE, name="y"), ONE)
