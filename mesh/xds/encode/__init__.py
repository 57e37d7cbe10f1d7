"""Model to Envoy v3 protobufs. Start at `Encoder.bundle`."""

from __future__ import annotations

from mesh.model.snapshot import Snapshot
from mesh.xds.resource import Bundle


class Encoder:
    """Encodes snapshots and remembers what it encoded, so that N sidecars do not cost N encodings."""

    def __init__(self, max_entries: int = 60_000) -> None:
        self._max_entries = max_entries

    def bundle(self, snapshot: Snapshot) -> Bundle:
        raise NotImplementedError
