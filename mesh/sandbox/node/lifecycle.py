"""When a container is started again, and how long its pod may take to stop. Pure.

    running → ended → (restart policy says no) → terminated for good
                    → CrashLoopBackOff: waits 10 s, 20 s, … 5 min → running
    ran for 10 minutes: the next wait starts at 10 s again
Source: Kubernetes "Pod Lifecycle", "Container restart policy"; kubelet defaults of 1.30.
"""

from dataclasses import dataclass

from mesh.sandbox.node.podstatus import Role

FIRST_BACKOFF_SECONDS = 10.0
LONGEST_BACKOFF_SECONDS = 300.0
CALM_AFTER_SECONDS = 600.0
MINIMUM_GRACE_SECONDS = 2.0
"""After a preStop hook has used up the grace period a container still gets this long (kubelet, minimumGracePeriodInSeconds)."""


def restarts(role: Role, policy: str, exit_code: int) -> bool:
    """Whether a container that ended is started again. `policy` is the pod's restartPolicy."""
    if role is Role.SIDECAR:
        return True
    if role is Role.EPHEMERAL:
        return False
    if policy == "Always":
        # An init container that did its job is done, whatever the pod's policy.
        return not (role is Role.INIT and exit_code == 0)
    return policy == "OnFailure" and exit_code != 0


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start of one container."""

    next_seconds: float = 0.0

    def after_run(self, ran_seconds: float) -> float:
        """The wait after a run of this length; the first end is followed by a start at once."""
        if ran_seconds >= CALM_AFTER_SECONDS:
            self.next_seconds = 0.0
        wait = self.next_seconds
        self.next_seconds = min(max(self.next_seconds * 2, FIRST_BACKOFF_SECONDS), LONGEST_BACKOFF_SECONDS)
        return wait


def describe_wait(seconds: float) -> str:
    """A wait as kubelet's messages print it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def exit_reason(exit_code: int) -> str:
    """Completed or Error."""
    return "Completed" if exit_code == 0 else "Error"
