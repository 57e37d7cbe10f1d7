"""Invariants of injection over generated pods."""

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from injector import jsonpatch
from injector.patch import inject, patch, strip
from injector.proxy_config import ProxyConfig
from injector.settings import NativeSidecar, Settings
from tests.support.injector_pods import pods

_SETTINGS = st.sampled_from(
    [
        *(Settings(proxy_config=ProxyConfig().merged({"controlPlaneAuthPolicy": policy}, "")) for policy in ("NONE", "MUTUAL_TLS")),
        Settings(native_sidecar=NativeSidecar.ON, image_pull_secrets=("s",)),
        Settings(merge_prometheus=False, rewrite_probes=False),
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~0", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(pods(), _SETTINGS)
def test_injecting_twice_is_injecting_once(pod: dict[str, Any], choice: Settings) -> None:
    once = inject(pod, "default", choice).pod
    assert inject(once, "default", choice).pod == once
    assert patch(once, "default", choice)[0] == []


@settings(max_examples=200, deadline=None)
@given(pods(), _SETTINGS)
def test_patch_turns_the_pod_into_the_injected_pod(pod: dict[str, Any], choice: Settings) -> None:
    before = copy.deepcopy(pod)
    operations, _ = patch(pod, "default", choice)
    assert pod == before
    assert jsonpatch.apply(pod, operations) == inject(pod, "default", choice).pod


@settings(max_examples=200, deadline=None)
@given(pods(), _SETTINGS, _SETTINGS)
def test_other_settings_replace_an_earlier_injection_without_trace(pod: dict[str, Any], first: Settings, second: Settings) -> None:
    once = inject(pod, "default", first).pod
    if not second.rewrite_probes:
        return  # probes then come back with port numbers where names were: the same ports
    assert inject(once, "default", second).pod == inject(pod, "default", second).pod


@settings(max_examples=200, deadline=None)
@given(pods(), _SETTINGS)
def test_strip_takes_out_everything_of_ours(pod: dict[str, Any], choice: Settings) -> None:
    text = repr(strip(inject(pod, "default", choice).pod))
    assert "app-health" not in text
    assert "triomesh-init" not in text
    assert text.count("triomesh-proxy") == repr(pod).count("triomesh-proxy")


@settings(max_examples=500, deadline=None)
@given(_JSON, _JSON)
def test_diff_and_apply_are_inverse(old: Any, new: Any) -> None:
    assert jsonpatch.diff(new, jsonpatch.apply(old, jsonpatch.diff(old, new))) == []
    assert jsonpatch.diff(old, copy.deepcopy(old)) == []
