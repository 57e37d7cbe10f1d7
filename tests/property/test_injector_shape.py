"""Whatever is broken in a pod, the answer is an injected pod or a BadPod that names a field: never another error."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from injector.decide import decide
from injector.patch import inject
from injector.pod import BadPod
from injector.settings import Settings
from tests.support.injector_pods import pods

_JUNK = st.sampled_from([None, True, 7, "text", "", [], {}, [None], ["x"], [{}], {"a": 1}, {"name": 3}])


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _paths(inner, (*path, key))
    return found


@settings(max_examples=600, deadline=None)
@given(pods(), st.booleans(), _JUNK, st.randoms(use_true_random=False))
def test_broken_pod_is_injected_or_refused(pod: dict[str, Any], injected: bool, junk: Any, random: Any) -> None:
    broken = copy.deepcopy(inject(pod, "d", Settings()).pod if injected else pod)
    path = random.choice(_paths(broken))
    target = broken
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = junk
    try:
        decide(broken, "d", {}, Settings())
        inject(broken, "d", Settings())
    except BadPod as exc:
        assert str(exc)


_NOTES = st.recursive(_JUNK, lambda inner: st.dictionaries(st.sampled_from(["containers", "initContainers", "annotations", "labels", "volumes", "securityContext", "name"]), inner | st.lists(inner, max_size=2), max_size=3), max_leaves=6)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(pods(), _NOTES, _NOTES, _NOTES)
def test_forged_status_is_undone_or_refused(pod: dict[str, Any], status: Any, overrides: Any, probers: Any) -> None:
    forged = inject(pod, "d", Settings()).pod
    notes = {"sidecar.triomesh.io/status": json.dumps(status), "proxy.triomesh.io/overrides": json.dumps(overrides)}
    forged = {**forged, "metadata": {**forged["metadata"], "annotations": {**forged["metadata"]["annotations"], **notes}}}
    proxy = {"name": "triomesh-proxy", "env": [{"name": "TRIOMESH_APP_PROBERS", "value": json.dumps({"/app-health/a/readyz": probers})}]}
    forged["spec"] = {**forged["spec"], "containers": [proxy, {"name": "a"}]}
    try:
        inject(forged, "d", Settings())
    except BadPod as exc:
        assert str(exc)
