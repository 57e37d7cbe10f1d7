"""meshctl proxy-status: does every proxy have what the control plane last made for it?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer

from mesh.cli.failure import NEGATIVE, CommandError
from mesh.cli.install import SYSTEM_NAMESPACE
from mesh.cli.kube import Kube
from mesh.cli.options import Format, Kubeconfig, Output, connect
from mesh.cli.output import show

CONTROL = "triomesh-control"
DEBUG_PORT = 15014
TYPES = {"cds": "CLUSTER", "lds": "LISTENER", "eds": "ENDPOINT", "rds": "ROUTE", "sds": "SECRET"}
COLUMNS = [("proxy", "PROXY"), ("role", "ROLE"), *((key, key.upper()) for key in TYPES), ("control", "CONTROL PLANE"), ("rejected", "REJECTED")]


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


def row(status: Mapping[str, Any], control: str) -> dict[str, Any]:
    """One proxy's row out of the control plane's `/debug/syncz`."""
    role, _, name, *_ = f"{status['node']}~~~".split("~")
    types = status.get("types", {})
    rejected = [f"{item['type']} {item['name']}: {item['message']}" for item in status.get("errors", [])]
    return {
        "proxy": name or status["node"],
        "role": role,
        **{key: _state(types.get(kind, {})) for key, kind in TYPES.items()},
        "control": control,
        "rejected": "; ".join(rejected),
    }


def _state(counts: Mapping[str, int]) -> str:
    for state in ("error", "stale", "not_sent"):
        if counts.get(state):
            return f"{state.upper().replace('_', ' ')} ({counts[state]} of {sum(counts.values())})"
    return f"SYNCED ({counts['synced']})" if counts.get("synced") else ""


def proxy_status(kubeconfig: Kubeconfig = None, output: Output = Format.table) -> None:
    """Per proxy and resource type: SYNCED, STALE (sent, not yet acknowledged), NOT SENT or ERROR (rejected, with the proxy's reason).

    Exit code 1 when a proxy rejected something.
    """
    kube = connect(kubeconfig)
    rows = [row(status, pod) for pod in control_planes(kube) for status in debug(kube, pod, "/debug/syncz")]
    show(sorted(rows, key=lambda row: str(row["proxy"])), COLUMNS, output, "no proxy is connected")
    if any("ERROR" in str(row[key]) for row in rows for key in TYPES):
        raise typer.Exit(NEGATIVE)
