"""Installing the mesh: CRDs, then the manifests of charts/triomesh, applied as one field manager."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import yaml

import mesh
from mesh.cli.failure import USAGE, CommandError
from mesh.cli.kube import Kube, KubeError

SYSTEM_NAMESPACE = "triomesh-system"
CHARTS = Path(mesh.__file__).resolve().parent.parent / "charts"
READY_SECONDS = 120.0
Document = dict[str, Any]


def documents(path: Path, values: Mapping[str, str] | None = None) -> Iterator[Document]:
    """Every object of a YAML file, or of a directory's files in name order; Lists are unpacked.

    Args: values: what `${NAME}` in the text stands for.
    Raises: CommandError naming file and line of malformed YAML, or the document that is not an object.
    """
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
            found = list(yaml.safe_load_all(Template(text).safe_substitute(values) if values else text))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            raise CommandError(f"{file}: {exc}", USAGE) from exc
        for index, document in enumerate(found):
            if document is None:
                continue
            if not isinstance(document, dict) or "kind" not in document or "apiVersion" not in document:
                raise CommandError(f"{file}: document {index} is no Kubernetes object", USAGE)
            yield from document["items"] if document["kind"] == "List" else [document]


def apply_all(kube: Kube, objects: Iterable[Document], namespace: str = "default", as_user: bool = False) -> int:
    """Apply in the given order. Returns how many. Raises: KubeError whose message names the object.

    Args: as_user: objects that the user goes on with; see `Kube.apply_as_user`.
    """
    count = 0
    apply = kube.apply_as_user if as_user else kube.apply
    for document in objects:
        try:
            apply(document, namespace)
        except KubeError as exc:
            raise KubeError(exc.code, exc.reason, f"{document['kind']} {document['metadata'].get('name')}: {exc}") from exc
        count += 1
    return count


def install_crds(kube: Kube) -> int:
    """Apply our CRDs and wait until the server serves them. Returns how many."""
    crds = list(documents(CHARTS / "triomesh-crds"))
    names = {str(crd["metadata"]["name"]) for crd in crds}
    apply_all(kube, crds)
    kube.until("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", lambda found: all(_is_established(found.get(name)) for name in names), READY_SECONDS)
    return len(crds)


def install_mesh(kube: Kube, manifests: Iterable[Document]) -> None:
    """Apply the mesh's own manifests and wait until its Deployments are available."""
    objects = list(manifests)
    apply_all(kube, objects, SYSTEM_NAMESPACE)
    wait_available(kube, SYSTEM_NAMESPACE, [str(item["metadata"]["name"]) for item in objects if item["kind"] == "Deployment"])


def wait_available(kube: Kube, namespace: str, names: Iterable[str], seconds: float = READY_SECONDS) -> None:
    """Wait for Deployments. Raises: KubeError(reason "Timeout") naming those that are not available."""
    wanted = set(names)
    ready: set[str] = set()

    def holds(found: Any) -> bool:
        ready.clear()
        ready.update(name for name in wanted if is_available(found.get(name)))
        return ready == wanted

    try:
        kube.until("apps/v1", "Deployment", namespace, holds, seconds)
    except KubeError as exc:
        if exc.reason != "Timeout":
            raise
        raise KubeError(0, "Timeout", f"not available after {seconds:.0f} s: {', '.join(sorted(wanted - ready))}") from exc


def is_available(deployment: Document | None) -> bool:
    """As `kubectl rollout status` sees it: the newest template runs, all replicas of it are available, none is left of others."""
    if deployment is None:
        return False
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def _is_established(crd: Document | None) -> bool:
    conditions = (crd or {}).get("status", {}).get("conditions") or []  # null at first
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)
