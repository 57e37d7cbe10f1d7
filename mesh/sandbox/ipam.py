"""Which pod has which address. An address is not used again until all others have been."""

import json
from pathlib import Path

from mesh.sandbox.network import pod_addresses


class NoAddress(Exception):
    """Every address of the pod network is taken."""


class AddressPool:
    """Concurrency: one task at a time. The last address given survives a restart in `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._taken: set[str] = set()
        self._last: str | None = json.loads(file.read_text())["last"] if file.exists() else None

    def adopt(self, address: str) -> None:
        """An address that is in use already."""
        self._taken.add(address)

    def take(self) -> str:
        """A free address.

        Raises: NoAddress.
        """
        address = next(pod_addresses(self._last, frozenset(self._taken)), None)
        if address is None:
            raise NoAddress("no free pod address in the sandbox")
        self._taken.add(address)
        self._last = address
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps({"last": address}))
        fresh.rename(self._file)
        return address

    def release(self, address: str) -> None:
        self._taken.discard(address)
