"""Snapshot to Envoy's `config_dump` JSON (`envoy.admin.v3.ConfigDump`), for the proxy's admin port."""

from __future__ import annotations

from typing import Any

from mesh.model.snapshot import Snapshot


def config_dump(snapshot: Snapshot) -> dict[str, Any]:
    """The JSON object that `GET /config_dump` answers. Private keys are redacted as Envoy does."""
    raise NotImplementedError
