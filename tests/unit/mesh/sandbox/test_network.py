"""Pod addresses and nat rules."""

import re
from itertools import islice

from mesh.sandbox.network import Backend, ServicePort, nat_rules, pod_addresses


def port(name: str, *backends: Backend, node_port: int = 0, protocol: str = "tcp") -> ServicePort:
    return ServicePort(name, protocol, ("198.19.3.4",), 80, node_port, backends)


def test_addresses_go_on_behind_the_last_one() -> None:
    assert list(islice(pod_addresses("198.18.1.9", frozenset({"198.18.1.10"})), 2)) == ["198.18.1.11", "198.18.1.12"]


def test_addresses_wrap_round_and_leave_the_nodes_and_load_balancers_out() -> None:
    every = list(pod_addresses("198.18.254.255", frozenset()))
    assert every[0] == "198.18.1.0"
    assert len(every) == len(set(every)) == 65536 - 256 - 256 - 1  # all but the last one given itself


def test_each_endpoint_gets_an_equal_share() -> None:
    backends = [Backend(f"198.18.1.{number}", 8000) for number in (1, 2, 3)]
    rules = nat_rules([port("default/web:80", *backends)])
    assert re.findall(r"--probability ([0-9.]+)", rules) == ["0.3333333333", "0.5000000000"]
    assert re.findall(r"--to-destination (\S+)", rules) == ["198.18.1.1:8000", "198.18.1.2:8000", "198.18.1.3:8000"]


def test_a_port_without_endpoints_is_refused() -> None:
    rules = nat_rules([port("default/web:80", node_port=30080)])
    assert "-A TM-REJECT -d 198.19.3.4/32 -p tcp --dport 80 -j REJECT --reject-with tcp-reset" in rules
    assert "-A TM-REJECT -d 198.18.0.1/32 -p tcp --dport 30080 -j REJECT --reject-with tcp-reset" in rules
    assert "DNAT" not in rules


def test_a_pod_that_reaches_itself_is_masqueraded() -> None:
    assert re.search(r"-A (TM-SEP-\w+) -s 198.18.1.1/32 -j MARK", nat_rules([port("a", Backend("198.18.1.1", 1))]))


def test_rules_do_not_depend_on_the_order_of_services() -> None:
    one, two = port("a", Backend("198.18.1.1", 1)), port("b", Backend("198.18.1.2", 1), protocol="udp")
    assert nat_rules([one, two]) == nat_rules([two, one])


def test_chain_names_fit_iptables() -> None:
    rules = nat_rules([port("namespace/" + "x" * 60 + ":80", Backend("198.18.1.1", 1))])
    assert max(len(name) for name in re.findall(r"^:(\S+)", rules, re.MULTILINE)) <= 28
