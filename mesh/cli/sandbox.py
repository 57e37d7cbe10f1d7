"""meshctl sandbox: a cluster with the mesh in it, on this machine, without Docker or Kubernetes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh import __version__
from mesh.cli import attach
from mesh.cli.failure import NEGATIVE, UNREACHABLE, USAGE, CommandError
from mesh.cli.install import CHARTS, SYSTEM_NAMESPACE, Document, documents, install_crds, install_mesh
from mesh.cli.kube import Kube, KubeError
from mesh.cli.options import DEFAULT_SANDBOX, Format, Output, SandboxName
from mesh.cli.output import document, step, table
from mesh.sandbox import forwardclient, supervisor
from mesh.sandbox.attachment import Attachment
from mesh.sandbox.failure import SandboxError
from mesh.sandbox.layout import BadName, Layout, locate

GATEWAY = f"{SYSTEM_NAMESPACE}/triomesh-ingressgateway"
COLLECTOR = "triomesh-collector"
COLLECTOR_OTLP = f"{COLLECTOR}.{SYSTEM_NAMESPACE}.svc.cluster.local:4317"
DAEMON_COLUMNS = [("name", "DAEMON"), ("pid", "PID"), ("ready", "READY"), ("restarts", "RESTARTS"), ("last_exit", "LAST EXIT")]

app = typer.Typer(no_args_is_help=True, help="A cluster with the mesh in it, on this machine: no Docker, no Kubernetes.")


@dataclass(frozen=True, slots=True)
class Target:
    """An API server to attach to. pki: directory of its CA, None = beside the kubeconfig. controllers: see `attachment.choose`."""

    kubeconfig: Path
    pki: Path | None = None
    controllers: str = "auto"


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that is up, with the mesh in it. gateway_url: the ingress gateway on 127.0.0.1."""

    name: str
    kubeconfig: str
    gateway_url: str
    kube: Kube


def bring_up(name: str, otlp: str = "", with_mesh: bool = True, to: Target | None = None) -> Running:
    """Bring the sandbox up (or find it running) and install the mesh. Progress goes to stderr.

    Args: otlp: HOST:PORT, as this host resolves and reaches it, of a collector to which spans are passed on.
          to: the API server to use; None = one of its own, or what the sandbox was attached to before.
    Raises: CommandError: in words for people. KubeError: the API server refused something.
    """
    try:
        if to is not None:
            attach.attach(locate(name), to.kubeconfig, to.pki, to.controllers, with_mesh)
        sandbox = supervisor.up(name, progress=step)
        kube = Kube(str(sandbox.kubeconfig))
        if not with_mesh:
            return Running(name, str(sandbox.kubeconfig), "", kube)
        step("installing the mesh: CRDs, control plane, injector, ingress gateway, collector")
        install_crds(kube)
        install_mesh(kube, manifests(forwardclient.reach(name, attach.host_address(otlp)) if otlp else ""))
        address = forwardclient.wait_forward(name, GATEWAY, 80)
    except BadName as exc:
        raise CommandError(str(exc), USAGE) from exc
    except SandboxError as exc:
        raise CommandError(str(exc), UNREACHABLE) from exc
    step(f"the ingress gateway is at http://{address}")
    return Running(name, str(sandbox.kubeconfig), f"http://{address}", kube)


def take_down(name: str) -> bool:
    """Remove the sandbox, and what it put into an API server that is not its own. Returns whether there was one.

    Raises: CommandError: something is left; the message says where.
    """
    try:
        layout = locate(name)
        attachment = Attachment.read(layout.attachment_file)
        left = [] if attachment is None else _detach_first(layout, attachment)
        kube = Kube(str(layout.kubeconfig)) if attachment is not None else None
        found = supervisor.down(name, progress=step)
    except BadName as exc:
        raise CommandError(str(exc), USAGE) from exc
    except SandboxError as exc:
        raise CommandError(str(exc)) from exc
    if kube is not None:
        step("removing the node from the API server")
        try:
            attach.remove_node(kube)
        except KubeError as exc:
            left.append(str(exc))
    if left and attachment is not None:
        raise CommandError(f"sandbox {name} is gone, but not everything of it could be removed from {attachment.server}: {'; '.join(left)}")
    return found


def _detach_first(layout: Layout, attachment: Attachment) -> list[str]:
    """Remove the mesh while the node still runs. Returns what went wrong."""
    if not attachment.mesh:
        return []
    step("removing the mesh from the API server (CRDs stay: they hold your routes)")
    try:
        attach.remove_mesh(Kube(str(layout.kubeconfig)), manifests())
    except KubeError as exc:
        return [str(exc)]
    return []


def manifests(otlp: str = "") -> list[Document]:
    """The mesh's manifests as the sandbox wants them: every request traced, to the built-in collector (which passes spans on to `otlp`, an address that pods reach)."""
    values = {"VERSION": __version__, "OTLP": COLLECTOR_OTLP}
    found = {_key(item): item for folder in ("manifests", "sandbox") for item in documents(CHARTS / "triomesh" / folder, values)}
    if otlp:
        (container,) = found["Deployment", COLLECTOR]["spec"]["template"]["spec"]["containers"]
        container["args"] = ["--otlp", otlp]
    return list(found.values())


def _key(item: Document) -> tuple[str, str]:
    return str(item["kind"]), str(item["metadata"]["name"])


@app.command(short_help="Bring it up with the mesh in it; quick when it is up.")
def up(
    name: SandboxName = DEFAULT_SANDBOX,
    otlp: Annotated[str, typer.Option("--otlp", metavar="HOST:PORT", help="Pass spans on to this OTLP/gRPC collector, as this machine reaches it.")] = "",
    bare: Annotated[bool, typer.Option("--bare", help="Only the cluster: do not install the mesh.")] = False,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Use this API server (its current context, with admin's rights) instead of an own one.")
    ] = None,
    pki: Annotated[
        Path | None, typer.Option("--pki", metavar="DIR", help="ca.crt and ca.key that this server trusts for clients and kubelets. Default: pki beside FILE.")
    ] = None,
    controllers: Annotated[
        str | None, typer.Option("--controllers", metavar="WHICH", help="Ours to run on this server: auto (those that it lacks), all, none, or names with commas.")
    ] = None,
) -> None:
    """Bring the sandbox up and install the mesh; quick when it is up already."""
    if kubeconfig is None and (pki is not None or controllers is not None):
        raise CommandError("--pki and --controllers are about the API server of --kubeconfig", USAGE)
    bring_up(name, otlp, not bare, Target(kubeconfig, pki, controllers or "auto") if kubeconfig else None)
    step(f'point this shell at it:  eval "$(meshctl sandbox env{named(name)})"')


@app.command(short_help="Remove it and everything in it; nothing is left.")
def down(name: SandboxName = DEFAULT_SANDBOX) -> None:
    """Remove the sandbox and everything in it; nothing is left behind.

    From an API server that is not its own: the node with its pods, and the mesh if the sandbox installed it; CRDs and your objects stay.
    """
    step(f"sandbox {name} is gone" if take_down(name) else f"there is no sandbox {name}")


@app.command()
def status(name: SandboxName = DEFAULT_SANDBOX, output: Output = Format.table) -> None:
    """How the sandbox is. Exit code 1 unless it is up."""
    found = _status(name)
    row: dict[str, Any] = {
        "name": name,
        "state": found.state,
        "kubeconfig": str(found.kubeconfig or ""),
        "api": found.api_url,
        "gateway": _gateway_url(found),
        "daemons": [{column: getattr(daemon, column) for column, _ in DAEMON_COLUMNS} for daemon in found.daemons],
    }
    if output is not Format.table:
        document(row, output)
    else:
        print("\n".join(f"{key:<12}{row[key] or '-'}" for key in ("name", "state", "kubeconfig", "api", "gateway")))
        if found.state == "crashed":
            step(f"its supervisor is gone: `meshctl sandbox up{named(name)}` takes it up again, `meshctl sandbox down{named(name)}` removes it")
        if found.daemons:
            print("\n" + table(row["daemons"], DAEMON_COLUMNS))
    raise typer.Exit(0 if found.state == "up" else NEGATIVE)


@app.command(short_help='For a shell:  eval "$(meshctl sandbox env)"')
def env(name: SandboxName = DEFAULT_SANDBOX) -> None:
    """Print `export` lines for a shell:  eval "$(meshctl sandbox env)"."""
    found = _status(name)
    if found.state == "absent":
        raise CommandError(f"there is no sandbox {name}; bring it up with: meshctl sandbox up{named(name)}")
    print(f"export KUBECONFIG={shlex.quote(str(found.kubeconfig))}")
    if url := _gateway_url(found):
        print(f"export TRIOMESH_GATEWAY_URL={shlex.quote(url)}")
    if name != DEFAULT_SANDBOX:
        print(f"export TRIOMESH_SANDBOX={shlex.quote(name)}")


def named(name: str) -> str:
    """The option that says which sandbox, for commands that we print."""
    return "" if name == DEFAULT_SANDBOX else f" --name {name}"


def _status(name: str) -> supervisor.Status:
    try:
        return supervisor.status(name)
    except BadName as exc:
        raise CommandError(str(exc), USAGE) from exc
    except SandboxError as exc:
        raise CommandError(str(exc), UNREACHABLE) from exc


def _gateway_url(found: supervisor.Status) -> str:
    address = (found.forwards or {}).get(GATEWAY, {}).get("80", "")
    return f"http://{address}" if address else ""
