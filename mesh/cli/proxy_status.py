"""meshctl proxy-status: does every proxy have what the control plane last made for it?"""

from __future__ import annotations

import json
from typing import Any

from mesh.cli.failure import CommandError
from mesh.cli.install import SYSTEM_NAMESPACE
from mesh.cli.kube import Kube
from mesh.cli.options import Format, Kubeconfig, Output, connect
from mesh.cli.output import show

CONTROL = "triomesh-control"
DEBUG_PORT = 15014
COLUMNS = [("proxy", "PROXY"), ("type", "ROLE"), ("cds", "CDS"), ("lds", "LDS"), ("eds", "EDS"), ("rds", "RDS"), ("sds", "SDS"), ("control", "CONTROL PLANE"), ("version", "VERSION"), ("error", "REJECTED")]


def control_planes(kube: Kube) -> list[str]:
    """Names of the running control-plane pods. Raises: CommandError when there is none."""
    pods = kube.list("v1", "Pod", SYSTEM_NAMESPACE, f"app={CONTROL}")
    names = [str(pod["metadata"]["name"]) for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    if not names:
        raise CommandError(f"no running control plane ({CONTROL}) in {SYSTEM_NAMESPACE}")
    return names


def debug(kube: Kube, pod: str, path: str) -> Any:
    """One debug document of a control-plane pod."""
    return json.loads(kube.call("GET", f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}:{DEBUG_PORT}/proxy{path}"))


def proxy_status(kubeconfig: Kubeconfig = None, output: Output = Format.table) -> None:
    """Per proxy and resource type: SYNCED, STALE (sent, not yet acknowledged), NOT SENT or ERROR (rejected, with the proxy's reason)."""
    kube = connect(kubeconfig)
    rows = [{**row, "control": pod} for pod in control_planes(kube) for row in debug(kube, pod, "/debug/syncz")]
    show(sorted(rows, key=lambda row: str(row["proxy"])), COLUMNS, output, "no proxy is connected")
