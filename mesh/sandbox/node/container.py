"""Turn one container of a pod into a Launch: everything the launcher needs. No kernel is touched here."""

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mesh
from mesh.sandbox.images import Image
from mesh.sandbox.layout import Layout
from mesh.sandbox.network import DNS_IP
from mesh.sandbox.node import podspec
from mesh.sandbox.node.launch import EMPTY_DIRS, SOURCE_DIR, VENV_DIR, Launch, Mount
from mesh.sandbox.node.podspec import SpecError
from mesh.sandbox.node.volumefiles import sub_path

Json = dict[str, Any]
CLUSTER_DOMAIN = "cluster.local"
SHM_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Where a pod's things lie on the host."""

    directory: Path

    @property
    def namespaces(self) -> dict[str, Path]:
        return {"uts": self.directory / "ns" / "uts", "ipc": self.directory / "ns" / "ipc"}

    @property
    def sandbox(self) -> Path:
        return self.directory / "pod.json"

    def volume(self, name: str) -> Path:
        return self.directory / "volumes" / name

    def container(self, name: str, attempt: int) -> Path:
        return self.directory / "containers" / name / str(attempt)

    def log(self, name: str, attempt: int) -> Path:
        return self.directory / "logs" / name / f"{attempt}.log"

    def termination_message(self, name: str, attempt: int) -> Path:
        return self.directory / "logs" / name / f"{attempt}.termination"


def container_key(uid: str, name: str, attempt: int) -> str:
    """The runtime's id of one run of a container."""
    return f"{uid}/{name}/{attempt}"


def public_id(key: str) -> str:
    """The id that statuses show."""
    return "triomesh://" + hashlib.sha256(key.encode()).hexdigest()


def launch(
    layout: Layout, files: PodFiles, pod: Json, container: Json, image: Image, env: Mapping[str, str], attempt: int, pod_ip: str, target: str = ""
) -> Launch:
    """The Launch of one run of a container. `target` is the runtime's id of the container whose processes an ephemeral one shares.

    Raises: SpecError: the spec asks for what cannot be; the message names the field.
    """
    spec, security = pod["spec"], container.get("securityContext") or {}
    user = podspec.user(pod, container, image)
    name, host_network = container["name"], bool(spec.get("hostNetwork"))
    argv = podspec.command(container, image, env)
    return Launch(
        id=container_key(pod["metadata"]["uid"], name, attempt),
        argv=argv,
        env=dict(env),
        cwd=container.get("workingDir") or image.workdir,
        uid=user.uid,
        gid=user.gid,
        groups=list(user.groups),
        capabilities=sorted(user.capabilities),
        no_new_privileges=user.no_new_privileges,
        read_only_root=bool(security.get("readOnlyRootFilesystem")),
        privileged=user.privileged,
        tty=bool(container.get("tty")),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        directory=str(files.container(name, attempt)),
        log=str(files.log(name, attempt)),
        netns="" if host_network else f"/run/netns/{layout.pod_netns(pod['metadata']['uid'])}",
        utsns=str(files.namespaces["uts"]),
        ipcns=str(files.namespaces["ipc"]),
        shm_bytes=SHM_BYTES,
        hide=[os.path.realpath(layout.root.parent)],
        reach=_unreachable_parents([Path(sys.base_prefix), Path(sys.executable).resolve(), Path(sys.prefix), _checkout()]),
        files={
            "/etc/hostname": podspec.hostname(pod) + "\n",
            "/etc/hosts": hosts_file(pod, pod_ip),
            "/etc/resolv.conf": resolv_conf(pod),
        },
        mounts=[
            Mount(str(_checkout()), SOURCE_DIR, True),
            Mount(os.path.realpath(sys.prefix), VENV_DIR, True),
            *_hidden_sources(),
            Mount(
                os.path.realpath(files.termination_message(name, attempt)),
                container.get("terminationMessagePath") or "/dev/termination-log",
                False,
            ),
            *_volume_mounts(files, pod, container, env),
        ],
        target=target,
    )


def hosts_file(pod: Json, pod_ip: str) -> str:
    """/etc/hosts as the kubelet writes it."""
    spec = pod["spec"]
    name, subdomain = podspec.hostname(pod), spec.get("subdomain")
    names = name
    if subdomain:
        names = f"{name}.{subdomain}.{pod['metadata']['namespace']}.svc.{CLUSTER_DOMAIN}\t{name}"
    lines = ["# Written by the Triomesh node", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", f"{pod_ip}\t{names}"]
    lines += [f"{alias['ip']}\t{' '.join(alias.get('hostnames') or ())}" for alias in spec.get("hostAliases") or ()]
    return "\n".join(lines) + "\n"


def resolv_conf(pod: Json) -> str:
    """/etc/resolv.conf after dnsPolicy and dnsConfig. Policy Default means the node's own servers: the cluster DNS too."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    config = spec.get("dnsConfig") or {}
    servers, searches, options = list(config.get("nameservers") or ()), [], {}
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        searches = [f"{namespace}.svc.{CLUSTER_DOMAIN}", f"svc.{CLUSTER_DOMAIN}", CLUSTER_DOMAIN]
        options["ndots"] = "5"
    if policy != "None":
        servers.insert(0, DNS_IP)
    searches += config.get("searches") or []
    options |= {item["name"]: item.get("value") for item in config.get("options") or ()}
    lines = [f"nameserver {server}" for server in dict.fromkeys(servers)]
    lines += [f"search {' '.join(dict.fromkeys(searches))}"] if searches else []
    words = [name if value is None else f"{name}:{value}" for name, value in options.items()]
    lines += [f"options {' '.join(words)}"] if words else []
    return "\n".join(lines) + "\n"


def not_enforced(pod: Json) -> list[str]:
    """Fields of a pod that the sandbox takes but does not act on, for one Event that says so."""
    spec = pod["spec"]
    every = [*(spec.get("initContainers") or ()), *spec["containers"]]
    found = []
    if any((c.get("resources") or {}).get("limits") for c in every):
        found.append("resources.limits (no cgroups)")
    contexts = [spec.get("securityContext") or {}, *(c.get("securityContext") or {} for c in every)]
    for key in ("seccompProfile", "seLinuxOptions", "appArmorProfile", "windowsOptions", "procMount", "sysctls"):
        if any(key in context and context[key] not in ({"type": "Unconfined"}, "Default") for context in contexts):
            found.append(f"securityContext.{key}")
    found += [key for key in ("hostPID", "hostIPC", "shareProcessNamespace", "runtimeClassName") if spec.get(key)]
    if any((v.get("emptyDir") or {}).get("sizeLimit") and v["emptyDir"].get("medium") != "Memory" for v in spec.get("volumes") or ()):
        found.append("emptyDir.sizeLimit on disk")
    return found


def _volume_mounts(files: PodFiles, pod: Json, container: Json, env: Mapping[str, str]) -> Iterable[Mount]:
    names = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    for mount in container.get("volumeMounts") or ():
        if mount["name"] not in names:
            raise SpecError(f'container {container["name"]}: volumeMount "{mount["name"]}" names no volume of the pod')
        root = files.volume(mount["name"])
        volume = names[mount["name"]]
        source = root
        relative = mount.get("subPath") or podspec.expand(mount.get("subPathExpr") or "", env)
        if relative:
            try:
                source = sub_path(root, relative, directory="emptyDir" in volume)
            except ValueError as exc:
                raise SpecError(f'container {container["name"]}: volumeMount "{mount["name"]}": {exc}') from exc
            if not source.exists():
                raise SpecError(f'container {container["name"]}: volumeMount "{mount["name"]}": no {relative!r} in the volume')
        # What comes from the API is the kubelet's to write (kubelet mounts these read-only as well).
        read_only = bool(mount.get("readOnly")) or "emptyDir" not in volume
        yield Mount(os.path.realpath(source), mount["mountPath"], read_only)


def _checkout() -> Path:
    return Path(mesh.__path__[0]).resolve().parent


def _hidden_sources() -> list[Mount]:
    """Checkout, virtual environment and interpreter at their own paths, where a container has an empty /tmp or /run."""
    paths = [Path(os.path.realpath(path)) for path in (_checkout(), sys.prefix, sys.base_prefix)]
    hidden = [path for path in dict.fromkeys(paths) if any(path.is_relative_to(empty) for empty in EMPTY_DIRS)]
    outermost = [path for path in hidden if not any(path.is_relative_to(other) for other in hidden if other != path)]
    return [Mount(str(path), str(path), True) for path in outermost]


def _unreachable_parents(paths: Iterable[Path]) -> list[str]:
    """Directories on the way to `paths` that other users may not pass."""
    found = []
    for path in paths:
        for parent in reversed([path, *path.parents]):
            if parent.is_dir() and not parent.stat().st_mode & 0o001 and str(parent) not in found:
                found.append(str(parent))
    return found
