"""The configuration under test: one for Envoy and for ours, with a sidecar's half of mutual TLS or without."""

import json
from pathlib import Path

import pytest

from benchmarks import certificates
from benchmarks.resources import TLS_SIDES, Tls, clusters, listener, secrets, without_ads
from mesh.xds.bootstrap import load_bootstrap


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    certificates.make(tmp_path)
    return tmp_path


@pytest.mark.parametrize("side", TLS_SIDES)
def test_tls_is_on_one_side_only_and_verifies_names(side: str, directory: Path) -> None:
    tls = Tls(side, directory, is_brief=True)
    down, up = json.dumps(listener(80, traced=True, tls=tls)), json.dumps(clusters([1], 2, tls))
    assert ("require_client_certificate" in down, "transport_socket" in down) == (tls.terminates, tls.terminates)
    assert ("transport_socket" in up, certificates.identity("backend") in up) == (
        not tls.terminates,
        not tls.terminates,
    )
    assert ("max_requests_per_connection" in up) is not tls.terminates
    assert [each["name"] for each in secrets(tls)] == ["proxy", "roots", "clients"]
    assert certificates.TRUST_DOMAIN in json.dumps(secrets(tls)[2])


def test_nobody_resumes_sessions(directory: Path) -> None:
    down = listener(80, traced=True, tls=Tls("terminate", directory, is_brief=False))
    settings = down["filter_chains"][0]["transport_socket"]["typed_config"]
    assert settings["disable_stateless_session_resumption"] and settings["disable_stateful_session_resumption"]
    (v1, *_) = clusters([1], 2, Tls("originate", directory, is_brief=False))
    assert v1["transport_socket"]["typed_config"]["max_session_keys"] == 0


def test_envoy_finds_its_secrets_without_ads(directory: Path) -> None:
    found = without_ads(clusters([1], 2, Tls("originate", directory, is_brief=False)))
    assert "sds_config" not in json.dumps(found)
    assert '{"name": "roots"}' in json.dumps(found)


def test_plaintext_is_what_our_bootstrap_takes() -> None:
    static = {"listeners": [listener(80, traced=False)], "clusters": clusters([1], 2)}
    snapshot = load_bootstrap(json.dumps({"static_resources": static}))
    assert set(snapshot.clusters) == {"items-v1", "items-v2", "otlp"}
