"""Outlier detection: hosts that keep failing are put aside for a while (Envoy `OutlierDetection`).

States of a host: in -> ejected (a run of failures reached its limit and the cluster can spare it) -> in again (after
base x number of ejections, noticed at a sweep). An interval in which a host was not ejected takes one off its number.
Success ends a run. `min_health_percent` is the balancer's business: below it, it stops to look at health. Failures of our own making (connect, timeout, reset) count as 5xx, or, with
`split_external_local_origin_errors`, in a run of their own.
"""

from __future__ import annotations

from collections.abc import Collection

from mesh.model.cluster import OutlierDetection
from mesh.proxy.balance.host import Host
from mesh.proxy.head import Answer

_GATEWAY = frozenset((502, 503, 504))
# google.rpc.Code's HTTP mapping, by number; Envoy's Grpc::Utility has the same.
_HTTP_OF_GRPC = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)


def judged_status(status: int, head: Answer) -> int:
    """The HTTP status that a gRPC response's head stands for: a failing server says 200 and `grpc-status: 14`.

    Only a trailers-only response says so in its head; a status in later trailers ends a stream that did begin.
    """
    value = head.get(b"grpc-status")
    if value is None:
        return status
    code = int(value) if value.isdigit() and len(value) <= 2 else 2
    return _HTTP_OF_GRPC[code] if code < len(_HTTP_OF_GRPC) else 500


class OutlierDetector:
    """One per cluster that asks for it. Sans-I/O: events with `now` in, hosts whose state changed out.

    After `on_response` or `on_local_failure` says True, and after `sweep` returns hosts, the caller tells the
    balancer (`on_health_change`). `next_sweep_at` is infinity while nothing is ejected or to be forgotten, so an
    idle cluster needs no timer.
    """

    __slots__ = ("_config", "ejected_total", "hosts", "next_sweep_at", "overflow_total")

    def __init__(self, config: OutlierDetection, hosts: Collection[Host]) -> None:
        self._config = config
        self.hosts = hosts
        self.next_sweep_at = float("inf")
        self.ejected_total = 0
        self.overflow_total = 0

    def configure(self, config: OutlierDetection, hosts: Collection[Host]) -> None:
        """New settings or hosts; runs and ejections live in the hosts and go on."""
        self._config = config
        self.hosts = hosts

    def on_response(self, host: Host, status: int, now: float) -> bool:
        """A response came. status: HTTP's, or for gRPC the one its grpc-status stands for. True: just ejected."""
        if status < 500:
            if not host.is_outlier_clean:
                host.consecutive_5xx = host.consecutive_gateway = host.consecutive_local = 0
                host.is_outlier_clean = True
            return False
        config = self._config
        host.is_outlier_clean = False
        host.consecutive_local = 0
        host.consecutive_5xx += 1
        host.consecutive_gateway = host.consecutive_gateway + 1 if status in _GATEWAY else 0
        return (
            _reached(host.consecutive_5xx, config.consecutive_5xx)
            or _reached(host.consecutive_gateway, config.consecutive_gateway_failure)
        ) and self._eject(host, now)

    def on_local_failure(self, host: Host, now: float) -> bool:
        """No response: connecting failed, timed out, or the connection was lost. True: just ejected."""
        config = self._config
        if not config.split_external_local_origin_errors:
            # Envoy turns these into 503 (504 for timeouts) as far as the counters go.
            return self.on_response(host, 503, now)
        host.is_outlier_clean = False
        host.consecutive_local += 1
        return _reached(host.consecutive_local, config.consecutive_local_origin_failure) and self._eject(host, now)

    def _eject(self, host: Host, now: float) -> bool:
        if host.ejected:
            return False
        config, total = self._config, len(self.hosts)
        ejected = sum(1 for other in self.hosts if other.ejected)
        # Envoy with always_eject_one_host (as it always was before that became a setting): the first host may be
        # ejected whatever the percentage, if not 0; after that the share that is out has to stay within it.
        may_eject = ejected == 0 and config.max_ejection_percent > 0
        may_eject = may_eject or 100.0 * (ejected + 1) / total <= config.max_ejection_percent
        if not may_eject:
            self.overflow_total += 1
            return False
        host.ejected = True
        host.ejected_at = now
        host.ejections += 1
        host.consecutive_5xx = host.consecutive_gateway = host.consecutive_local = 0
        self.ejected_total += 1
        self.next_sweep_at = min(self.next_sweep_at, now + config.interval_seconds)
        return True

    def sweep(self, now: float) -> list[Host]:
        """Let back whoever has served its time. To be called at `next_sweep_at`. Returns the hosts that are back."""
        config, back = self._config, []
        for host in self.hosts:
            if host.ejected:
                longest = max(config.base_ejection_seconds, config.max_ejection_seconds)
                if now >= host.ejected_at + min(config.base_ejection_seconds * host.ejections, longest):
                    host.ejected = False
                    back.append(host)
            elif host.ejections:
                host.ejections -= 1
        pending = any(host.ejections for host in self.hosts)
        self.next_sweep_at = now + config.interval_seconds if pending else float("inf")
        return back


def _reached(run: int, limit: int) -> bool:
    return 0 < limit <= run
