"""Attachment: the sandbox's node on an API server that is not its own: which one, and which of our controllers run on it.

A real cluster has its own controllers. What they are is seen from their leader-election leases; `choose` says which of ours remain.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

SCHEDULER = "scheduler"
PROVIDED = {
    "kube-controller-manager": ("workloads", "endpoints", "namespaces", "garbage", "nodes"),
    "cloud-controller-manager": ("loadbalancers",),
    "kube-scheduler": (SCHEDULER,),
}
"""Lease in kube-system that a component of a real cluster holds → our controllers that it makes superfluous."""
CONTROLLERS = tuple(name for names in PROVIDED.values() for name in names)
"""workloads: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob. namespaces: their contents and their end. garbage: ownerReferences.
nodes: their taints."""


class BadControllers(ValueError):
    """The wish names no controller of ours; the message lists them."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """`server` is the API server's URL as the host sees it; `mesh`: the sandbox installed the mesh and removes it."""

    server: str
    controllers: tuple[str, ...]
    mesh: bool = False

    @property
    def managers(self) -> tuple[str, ...]:
        """The controllers that run in the controllers' daemon; the scheduler is the node's."""
        return tuple(name for name in self.controllers if name != SCHEDULER)

    @classmethod
    def read(cls, file: Path) -> "Attachment | None":
        """What the file says; None where there is none."""
        try:
            found = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        return cls(found["server"], tuple(found["controllers"]), found["mesh"])

    def write(self, file: Path) -> None:
        """Whole or not at all."""
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=1))
        fresh.rename(file)


def choose(wish: str, held: Iterable[str]) -> tuple[str, ...]:
    """Which of our controllers run.

    Args: wish: "auto" (what no component of the cluster provides), "all", "none", or names separated by commas.
          held: the leases in kube-system that somebody holds now.
    Raises: BadControllers.
    """
    if wish == "all":
        return CONTROLLERS
    if wish == "none":
        return ()
    if wish == "auto":
        provided = {name for lease in held for name in PROVIDED.get(lease, ())}
        return tuple(name for name in CONTROLLERS if name not in provided)
    names = tuple(dict.fromkeys(name.strip() for name in wish.split(",")))
    for name in names:
        if name not in CONTROLLERS:
            raise BadControllers(f"no controller {name!r}: use auto, all, none, or some of {', '.join(CONTROLLERS)}")
    return names
