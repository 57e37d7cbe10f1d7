"""Our CRDs take and refuse the same objects as the real ones of Gateway API and Istio, on both API servers.

`verdicts.json` says of each object of the corpus (tests/support/crd_corpus.py) whether kube-apiserver 1.34.4 takes it with the CRDs of their Go modules
(sigs.k8s.io/gateway-api, standard channel, and istio.io/api), and if not, which fields are wrong. Where ours differ on purpose, tests/support/kube_differences.py says why. Both
sets of CRDs are judged on the embedded server, and with `--kube=real` on the real one: four times the same objects.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client

from tests.support.apiserver import running
from tests.support.apiserver_contract import client_of
from tests.support.crd_corpus import OURS, Case, accepted, corpus, definitions, install, originals, uninstall, verdicts
from tests.support.kube_differences import stricter
from tests.support.kube_server import NoToolchain, binaries, crds, real_kube

RECORDED: dict[str, str] = json.loads(Path(__file__).with_name("verdicts.json").read_text())
EXPECTED = sorted(name for name in accepted(RECORDED) if stricter(name) is None)
"""What ours take: all that the real ones do, but for the listed differences."""
Judge = Callable[[list[Path]], dict[str, str]]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return corpus()


@pytest.fixture(scope="module")
def judge(kube: str, tmp_path_factory: pytest.TempPathFactory, cases: list[Case]) -> Iterator[Judge]:
    """Ask the server of the run, with the CRDs of some places alone."""
    directory = tmp_path_factory.mktemp("crds")
    with _embedded(directory) if kube == "embedded" else _real(directory) as api:

        def ask(places: list[Path]) -> dict[str, str]:
            chosen = definitions(*places)
            install(api, chosen)
            try:
                return verdicts(api, cases)
            finally:
                uninstall(api, chosen)

        yield ask


@contextmanager
def _embedded(directory: Path) -> Iterator[client.ApiClient]:
    with running(directory) as server, server.api() as api:
        yield api


@contextmanager
def _real(directory: Path) -> Iterator[client.ApiClient]:
    with real_kube(directory, binaries()) as server, client_of(server.kubeconfig) as api:
        yield api


@pytest.fixture(scope="module")
def ours(judge: Judge) -> dict[str, str]:
    return judge([OURS])


@pytest.fixture(scope="module")
def theirs(judge: Judge, kube: str) -> dict[str, str]:
    try:
        places = crds()
    except (NoToolchain, subprocess.CalledProcessError) as exc:
        if kube != "embedded":
            raise
        pytest.skip(f"the real CRDs come from Go modules, which cannot be had here: {exc!r}")
    return judge(list(places))


def test_every_valid_object_is_taken(ours: dict[str, str]) -> None:
    valid = {case.name for case in originals()}
    assert {name: ours[name] for name in valid if ours[name] != "accepted"} == {}
    assert valid <= set(accepted(RECORDED))


def test_our_crds_take_what_the_real_ones_take(ours: dict[str, str]) -> None:
    taken = set(accepted(ours))
    assert (sorted(taken - set(EXPECTED)), {name: ours[name] for name in sorted(set(EXPECTED) - taken)}) == ([], {})


def test_the_real_crds_are_understood_as_by_the_real_server(theirs: dict[str, str]) -> None:
    """To the field."""
    assert theirs.keys() == RECORDED.keys()
    assert {name: (found, RECORDED[name]) for name, found in theirs.items() if found != RECORDED[name]} == {}
