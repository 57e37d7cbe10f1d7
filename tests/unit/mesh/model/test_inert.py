"""What has no effect, and that it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.model.inert import INERT_KINDS, NETWORKING, SECURITY, without_effect

CRDS = Path(__file__).resolve().parents[4] / "charts/triomesh-crds"
# The kinds that the control plane reads; everything else that our CRDs serve must be in the table.
READ = {"VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "PeerAuthentication"}


def test_every_kind_of_our_crds_is_read_or_told_to_be_inert() -> None:
    served = {
        (crd["spec"]["group"], crd["spec"]["names"]["kind"], crd["spec"]["names"]["plural"]): tuple(
            version["name"] for version in crd["spec"]["versions"]
        )
        for path in CRDS.glob("*.istio.io.yaml")
        for crd in yaml.safe_load_all(path.read_text())
    }
    table = {(item.group, item.kind, item.plural): item.versions for item in INERT_KINDS}
    assert {key: versions for key, versions in served.items() if key[1] not in READ}.items() <= table.items()
    assert not any(key[1] in READ for key in table)


@pytest.mark.parametrize("item", INERT_KINDS, ids=lambda item: item.kind)
def test_inert_objects_have_one_message_that_fits_a_warning(item: Any) -> None:
    message = without_effect(item.group, item.kind)
    assert message.startswith("has no effect")
    # metav1: kubectl gets at most 256 characters of a warning, the object's kind and name among them.
    assert len(message) <= 160


def test_other_kinds_are_none_of_its_business() -> None:
    assert without_effect(NETWORKING, "VirtualService") == without_effect(SECURITY, "PeerAuthentication") == ""
