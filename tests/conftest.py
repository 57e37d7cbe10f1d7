"""One suite, several clusters (see scripts/test-kube.sh):

    --kube=embedded   our API server and controllers (the default)
    --kube=real       kube-apiserver and kube-controller-manager
    --kube=bare       kube-apiserver and no controller but ours

Tests marked `real_kube` are about the real server alone and do not run on the embedded one.
"""

import pytest

EMBEDDED, REAL, BARE = "embedded", "real", "bare"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kube", choices=(EMBEDDED, REAL, BARE), default=EMBEDDED, help="which cluster the tests use (default %(default)s)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--kube") != EMBEDDED:
        return
    skip = pytest.mark.skip(reason="about the real kube-apiserver: --kube=real, as in `make test-kube`")
    for item in items:
        if item.get_closest_marker("real_kube"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def kube(pytestconfig: pytest.Config) -> str:
    """Which cluster the tests use: "embedded", "real" or "bare"."""
    return str(pytestconfig.getoption("--kube"))
