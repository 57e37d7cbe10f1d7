"""The options that verbs share, spelled once, and what they resolve to."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.kube import Kube

DEFAULT_SANDBOX = "default"


class Format(StrEnum):
    """`-o`: a table for people; json and yaml are stable for scripts."""

    table = "table"
    json = "json"
    yaml = "yaml"


Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace to look at.", show_default=True)]
AllNamespaces = Annotated[bool, typer.Option("-A", "--all-namespaces", help="Look at every namespace.")]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, else the running sandbox.", metavar="FILE"),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="Output format.")]
SandboxName = Annotated[str, typer.Option("--name", help="Name of the sandbox; several may run side by side.", envvar="TRIOMESH_SANDBOX")]


def state_dir(name: str) -> Path:
    """Where a sandbox keeps its state (ARCHITECTURE.md, "Sandbox")."""
    return Path(os.environ.get("TRIOMESH_STATE", "/var/lib/triomesh")) / name


def connect(kubeconfig: str | None) -> Kube:
    """The API server a verb talks to. Raises: KubeError when there is none or it does not answer."""
    if kubeconfig is None and not os.environ.get("KUBECONFIG") and not (Path.home() / ".kube/config").exists():
        sandbox = state_dir(os.environ.get("TRIOMESH_SANDBOX", DEFAULT_SANDBOX)) / "kubeconfig"
        if sandbox.exists():
            kubeconfig = str(sandbox)
    return Kube(kubeconfig)
