from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.apiserver import podadmission
from mesh.sandbox.apiserver.status import ApiError
from tests.support.apiserver_local import local

SA = "/api/v1/namespaces/default/serviceaccounts"


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}], **spec}}


async def test_token_volume_goes_to_every_container_once(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        made = pod()
        podadmission.admit(made, api.cluster.store, "default")
        spec = made["spec"]
        assert spec["serviceAccountName"] == spec["serviceAccount"] == "default" and len(spec["volumes"]) == 1
        assert [c["volumeMounts"][0]["mountPath"] for c in spec["containers"] + spec["initContainers"]] == [podadmission.TOKEN_PATH] * 2
        assert [t["key"] for t in spec["tolerations"]] == [podadmission.NOT_READY, podadmission.UNREACHABLE] and spec["priority"] == 0
        again = {**made}
        podadmission.admit(again, api.cluster.store, "default")
        assert again == made


async def test_automount_can_be_declined(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create(SA, "quiet", automountServiceAccountToken=False, imagePullSecrets=[{"name": "s"}])
        for made, mounts in ((pod(serviceAccountName="quiet"), 0), (pod(serviceAccountName="quiet", automountServiceAccountToken=True), 1), (pod(automountServiceAccountToken=False), 0)):
            podadmission.admit(made, api.cluster.store, "default")
            assert len(made["spec"].get("volumes", [])) == mounts
        made = pod(serviceAccountName="quiet")
        podadmission.admit(made, api.cluster.store, "default")
        assert made["spec"]["imagePullSecrets"] == [{"name": "s"}]


async def test_missing_account_or_priority_class_is_forbidden(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create("/apis/scheduling.k8s.io/v1/priorityclasses", "high", value=7)
        made = pod(priorityClassName="high")
        podadmission.admit(made, api.cluster.store, "default")
        assert made["spec"]["priority"] == 7
        for wrong in (pod(serviceAccountName="nobody"), pod(priorityClassName="none")):
            with pytest.raises(ApiError) as refused:
                podadmission.admit(wrong, api.cluster.store, "default")
            assert refused.value.code == 403
