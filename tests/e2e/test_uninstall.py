"""Taking the sandbox down after everything that the other stories did to it leaves the machine as it was."""

import pytest

from tests.support.mesh_sandbox import Stage, differences, kill, machine

pytestmark = [pytest.mark.root, pytest.mark.e2e]


def test_down_leaves_the_machine_as_it_was(stage: Stage) -> None:
    mesh = stage.up()
    inside = machine()
    assert len(inside["ip netns"]) >= 11, "the node and ten pods"  # type: ignore[arg-type]
    assert inside["processes"]
    assert {key: inside[key] for key in ("ip link", "iptables-save", "ip6tables-save", "nft list ruleset")} == {
        key: stage.before[key] for key in ("ip link", "iptables-save", "ip6tables-save", "nft list ruleset")
    }, "the host's own network is not touched even while the sandbox is up"
    state = mesh.layout.root
    stage.down()
    assert differences(stage.before, machine()) == {}
    assert not state.exists()


def test_down_cleans_up_after_a_killed_supervisor(stage: Stage) -> None:
    mesh = stage.up()
    kill(mesh.daemon_pid("supervisor"))
    assert mesh.status().state == "crashed"
    stage.down()
    assert differences(stage.before, machine()) == {}
