"""The same RouteConfiguration, the same requests: the real Envoy and our proxy do the same with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mesh.model.route import RouteConfig
from tests.support.xds_differential import Echo, our_proxy, outcomes, real_envoy
from tests.support.xds_routing_cases import GROUPS
from tests.support.xds_server import ENVOY, NO_ENVOY

pytestmark = pytest.mark.skipif(ENVOY is None, reason=NO_ENVOY)
CASES = {group: list(make()) for group, make in GROUPS.items()}


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


def config(*groups: str) -> RouteConfig:
    return RouteConfig("test", tuple(case.host for group in groups for case in CASES[group]))


@pytest.fixture(scope="module")
def envoy_port(tmp_path_factory: pytest.TempPathFactory, echo: Echo) -> Iterator[int]:
    """One Envoy with the virtual hosts of every group."""
    with real_envoy(tmp_path_factory.mktemp("envoy"), config(*CASES), echo.ports) as port:
        yield port


@pytest.mark.parametrize("group", CASES)
async def test_envoy_and_ours_agree(group: str, echo: Echo, envoy_port: int) -> None:
    requests = [raw for case in CASES[group] for raw in case.raw()]
    async with our_proxy(config(group), echo.ports) as proxy:
        found = await outcomes(proxy, envoy_port, requests)
    differing = [(request, envoys, ours) for request, envoys, ours in found if envoys != ours]
    assert not differing, f"{len(differing)} of {len(found)} differ:\n" + "\n".join(
        f"{request!r}\n  Envoy {envoys}\n  ours  {ours}" for request, envoys, ours in differing[:10]
    )


def test_the_requests_reach_every_kind_of_end() -> None:
    """So that agreement means something: thousands of requests, and each group has some."""
    assert all(any(case.requests for case in cases) for cases in CASES.values())
    assert sum(len(case.requests) for cases in CASES.values() for case in cases) > 5000
