"""Static configuration: an Envoy bootstrap's `static_resources`, YAML or JSON, to a Snapshot."""

from __future__ import annotations

from mesh.model.snapshot import Snapshot


def load_bootstrap(text: str) -> Snapshot:
    """Args: text: YAML (or JSON, which is YAML) of `envoy.config.bootstrap.v3.Bootstrap`.

    Raises: DecodeError naming the resource and field.
    """
    raise NotImplementedError
