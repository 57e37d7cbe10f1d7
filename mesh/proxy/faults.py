"""Faults: delays and aborts that a route injects, drawn per request (Envoy `HTTPFault`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.model.failure import Flag
from mesh.model.route import Fault
from mesh.proxy.match import CompileError
from mesh.proxy.reply import LocalReply

ABORT_BODY = b"fault filter abort"


@dataclass(frozen=True, slots=True)
class Draw:
    """What happens to one request: wait `delay_seconds` (0 = not), note DI, then answer `abort` unless None."""

    delay_seconds: float
    abort: LocalReply | None


@dataclass(frozen=True, slots=True)
class CompiledFault:
    delay_seconds: float
    delay_share: float
    abort_share: float
    abort: LocalReply | None

    def draw(self, rng: Callable[[], float]) -> Draw | None:
        """None: this request is left alone. Delay and abort are drawn independently. rng: uniform in [0, 1)."""
        delay = self.delay_seconds if self.delay_share > 0 and rng() < self.delay_share else 0.0
        abort = self.abort if self.abort_share > 0 and rng() < self.abort_share else None
        return Draw(delay, abort) if delay or abort is not None else None


def compile_fault(fault: Fault, field: str) -> CompiledFault:
    """Raises CompileError for a status, a percentage or a duration that makes no sense."""
    delay_seconds, delay_share, abort_share, abort = 0.0, 0.0, 0.0, None
    if fault.delay is not None:
        delay_seconds = fault.delay.seconds
        if delay_seconds < 0:
            raise CompileError(f"{field} delay: {delay_seconds} s is negative")
        delay_share = _share(fault.delay.percent, f"{field} delay")
    if fault.abort is not None:
        abort_share = _share(fault.abort.percent, f"{field} abort")
        abort = _abort(fault.abort.http_status, fault.abort.grpc_status, f"{field} abort")
    return CompiledFault(delay_seconds, delay_share, abort_share, abort)


def _share(percent: float, field: str) -> float:
    if not 0.0 <= percent <= 100.0:
        raise CompileError(f"{field}: {percent} % is not between 0 and 100")
    return percent / 100.0


def _abort(http_status: int | None, grpc_status: int | None, field: str) -> LocalReply:
    if (http_status is None) == (grpc_status is None):
        raise CompileError(f"{field}: exactly one of an HTTP status and a gRPC status is needed")
    flags, details = (Flag.FAULT_INJECTED,), "fault_filter_abort"
    if http_status is not None:
        if not 200 <= http_status <= 599:
            raise CompileError(f"{field}: HTTP status {http_status} is not between 200 and 599")
        return LocalReply(http_status, ABORT_BODY, flags=flags, details=details)
    assert grpc_status is not None
    if not 0 <= grpc_status <= 16:
        raise CompileError(f"{field}: gRPC status {grpc_status} is not between 0 and 16")
    # Envoy: whose request does not look like gRPC gets the text, with 200, because there is nothing else to tell it by.
    return LocalReply(200, ABORT_BODY, flags=flags, details=details, grpc_status=grpc_status)
