from mesh.proxy.drain import Drain
from mesh.proxy.health import Readiness


async def test_ready_between_the_first_configuration_and_the_drain() -> None:
    drain = Drain()
    readiness = Readiness(drain)
    assert not readiness.is_ready and readiness.reason == "no configuration was received yet"
    readiness.on_waiting("routes 9080 are missing")
    assert readiness.reason == "routes 9080 are missing"
    readiness.on_configured()
    assert readiness.is_ready and readiness.reason == ""
    await readiness.wait_configured()
    drain.begin()
    assert not readiness.is_ready and readiness.reason == "draining"
