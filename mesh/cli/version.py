"""meshctl version."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from mesh import __version__
from mesh.cli.kube import Kube, KubeError
from mesh.cli.options import Format, Kubeconfig, Output, connect
from mesh.cli.output import document

PARTS = {"control plane": "triomesh/control", "injector": "triomesh/injector", "data plane": "triomesh/proxy"}


def version(
    kubeconfig: Kubeconfig = None,
    output: Output = Format.table,
    client: Annotated[bool, typer.Option("--client", help="Print this program's version only; ask no server.")] = False,
) -> None:
    """Versions of meshctl, of the control plane and of the proxies (with counts)."""
    found: dict[str, object] = {"client": __version__}
    if not client:
        try:
            found.update(_cluster(connect(kubeconfig)))
        except KubeError as exc:
            if exc.code:
                raise
            found["server"] = f"unreachable: {exc}"
    if output is not Format.table:
        return document(found, output)
    for key, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} ({count})" for name, count in value.items()) or "none"
        print(f"{key + ':':<16}{value}")


def _cluster(kube: Kube) -> dict[str, object]:
    running = [pod["spec"]["containers"] + pod["spec"].get("initContainers", []) for pod in kube.list("v1", "Pod") if pod.get("status", {}).get("phase") == "Running"]
    images = [str(container["image"]) for containers in running for container in containers]
    return {label: dict(Counter(_tag(image) for image in images if _repository(image).endswith(wanted))) for label, wanted in PARTS.items()}


def _repository(image: str) -> str:
    return image.removesuffix(f":{_tag(image)}")


def _tag(image: str) -> str:
    return image.rsplit("/", 1)[-1].partition(":")[2] or "latest"
