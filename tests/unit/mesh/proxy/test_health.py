from mesh.proxy.drain import Drain
from mesh.proxy.health import Readiness


async def test_ready_between_the_first_configuration_and_the_drain() -> None:
    drain = Drain()
    readiness = Readiness(drain)
    assert not readiness.is_ready
    readiness.on_configured()
    assert readiness.is_ready
    drain.begin()
    assert not readiness.is_ready and readiness.is_configured


def test_where_there_is_to_be_an_identity_both_are_waited_for() -> None:
    readiness = Readiness(Drain(), needs_identity=True)
    assert readiness.lacks == "complete configuration and certificate"
    readiness.on_configured()
    assert not readiness.is_ready and readiness.lacks == "certificate"
    readiness.on_identity()
    assert readiness.is_ready and readiness.lacks == ""
