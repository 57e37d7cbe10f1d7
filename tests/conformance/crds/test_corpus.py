"""Our CRDs take and refuse the same objects as the real ones of Gateway API and Istio.

`accepted.json` names the objects of the corpus (tests/support/crd_corpus.py) that kube-apiserver 1.34.4 takes with the CRDs of their Go modules
(sigs.k8s.io/gateway-api, standard channel, and istio.io/api). Where ours differ on purpose, `STRICTER` says why. With `--kube=real` the real
server is asked, with the real CRDs and with ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apiserver import running
from tests.support.crd_corpus import OURS, Case, accepted, corpus, definitions, install, originals, uninstall, verdicts

RECORDED: list[str] = json.loads(Path(__file__).with_name("accepted.json").read_text())
STATUS, PERCENT, PORT = "what HTTP has no status for", "no percentage", "no port"
REASON = "Istio's CRD takes it and its validating webhook refuses it; we refuse both times: "
# Ends of case names → why only the real CRDs take it.
STRICTER = {
    r"spec\..*\bport(\.number)? zero": REASON + PORT,
    r"spec\..*\.fault\.abort\.httpStatus (negative|huge|zero)": REASON + STATUS,
    r"spec\..*\.(redirectCode|directResponse\.status) zero": REASON + STATUS,
    r"spec\..*(percentage|mirrorPercentage)\.value (negative|huge)": REASON + PERCENT,
    r"spec\..*\.maxEjectionPercent (negative|huge)": REASON + PERCENT,
    r"spec\..*\.(weight|attempts) negative": REASON + "a negative count",
    r"spec\..*\.httpCookie\.ttl (empty|nonsense|long)": REASON + "no duration",
    r"ServiceEntry: spec\.hosts\.0 empty": REASON + "a host without a name",
}
# The embedded server alone.
EMBEDDED = {r"spec\..*\.(maxConnections|http1MaxPendingRequests|http2MaxRequests|maxRequestsPerConnection|maxRetries) huge": "`format: int32` is enforced, which a real server does not do for custom resources"}


def expected(differences: dict[str, str]) -> list[str]:
    """What is to be taken, given on-purpose differences. Each of them must be one."""
    left = {name for name in RECORDED if not _matches(name, differences)}
    for pattern in differences:
        assert any(_matches(name, {pattern: ""}) for name in RECORDED), f"no difference any more: {pattern}"
    return sorted(left)


def _matches(name: str, patterns: dict[str, str]) -> bool:
    _, _, change = name.partition(" ")
    return any(re.fullmatch(rf"(\w+: )?{pattern}", change) for pattern in patterns)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return corpus()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, cases: list[Case]) -> Iterator[dict[str, str]]:
    with running(tmp_path_factory.mktemp("crds")) as server, server.api() as api:
        install(api, definitions(OURS))
        yield verdicts(api, cases)


def test_every_valid_object_is_taken_by_both(embedded: dict[str, str]) -> None:
    valid = {case.name for case in originals()}
    assert {name: embedded[name] for name in valid if embedded[name] != "accepted"} == {}
    assert valid <= set(RECORDED)


def test_our_crds_take_what_the_real_ones_take(embedded: dict[str, str]) -> None:
    taken, wanted = set(accepted(embedded)), set(expected({**STRICTER, **EMBEDDED}))
    assert (sorted(taken - wanted), {name: embedded[name] for name in sorted(wanted - taken)}) == ([], {})


@pytest.mark.real_kube
def test_on_a_real_server(tmp_path: Path, cases: list[Case]) -> None:
    from tests.support.apiserver_contract import client_of
    from tests.support.kube_server import binaries, real_kube

    found = binaries()
    with real_kube(tmp_path, found) as server, client_of(server.kubeconfig) as api:
        theirs = definitions(found.gateway_api_crds, found.istio_crds)
        install(api, theirs)
        assert accepted(verdicts(api, cases)) == RECORDED
        uninstall(api, theirs)
        install(api, definitions(OURS))
        taken = verdicts(api, cases)
    assert accepted(taken) == expected(STRICTER)
