"""The stories' one sandbox. Each pytest worker has its own; a test that takes it down leaves the next one to bring it up."""

from collections.abc import Iterator

import pytest

from tests.support.kube_stage import ALL, KubeStage
from tests.support.mesh_sandbox import Mesh, Stage, own_name, skip_without_root


@pytest.fixture(scope="session")
def stage(kube: str) -> Iterator[Stage]:
    skip_without_root()
    stage = Stage(own_name()) if kube == "embedded" else KubeStage(own_name(), ALL if kube == "real" else ())
    try:
        yield stage
    finally:
        stage.down()


@pytest.fixture
def mesh(stage: Stage) -> Iterator[Mesh]:
    """The mesh with bookinfo and without any route object, before and after the test."""
    found = stage.up()
    yield found
    found.clear_routes()


@pytest.fixture
def bookinfo(mesh: Mesh) -> Mesh:
    """The mesh with bookinfo behind the gateway and all versions as subsets."""
    mesh.apply_file("networking/bookinfo-gateway.yaml", "networking/destination-rule-all.yaml")
    mesh.await_page()
    return mesh
