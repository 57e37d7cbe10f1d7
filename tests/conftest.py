"""One suite, two API servers: `--kube=embedded` (our own, the default) or `--kube=real` (kube-apiserver, see scripts/test-kube.sh).

Tests marked `real_kube` are about the real server alone and run with `--kube=real` only.
"""

import pytest

EMBEDDED, REAL = "embedded", "real"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kube", choices=(EMBEDDED, REAL), default=EMBEDDED, help="which API server the tests use (default %(default)s)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--kube") == REAL:
        return
    skip = pytest.mark.skip(reason="about the real kube-apiserver: --kube=real, as in `make test-kube`")
    for item in items:
        if item.get_closest_marker("real_kube"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def kube(pytestconfig: pytest.Config) -> str:
    """Which API server the tests use: "embedded" or "real"."""
    return str(pytestconfig.getoption("--kube"))
