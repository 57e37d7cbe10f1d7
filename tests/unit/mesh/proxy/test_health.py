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
