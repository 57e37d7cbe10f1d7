import random

import pytest

from mesh.model.failure import Flag
from mesh.model.route import Fault, FaultAbort, FaultDelay
from mesh.proxy.faults import Draw, compile_fault
from mesh.proxy.match import CompileError
from tests.support.observe import sequence


def test_everybody_is_delayed_at_100_percent() -> None:
    fault = compile_fault(Fault(FaultDelay(7.0)), "f")
    assert fault.draw(sequence(0.9999)) == Draw(7.0, None)


def test_nobody_is_touched_at_0_percent() -> None:
    fault = compile_fault(Fault(FaultDelay(7.0, 0.0), FaultAbort(0.0, 500)), "f")
    assert fault.draw(sequence()) is None


def test_delay_and_abort_are_drawn_apart() -> None:
    fault = compile_fault(Fault(FaultDelay(1.0, 50.0), FaultAbort(50.0, 555)), "f")
    neither, only_delay = fault.draw(sequence(0.5, 0.5)), fault.draw(sequence(0.49, 0.5))
    only_abort = fault.draw(sequence(0.5, 0.49))
    assert neither is None
    assert only_delay == Draw(1.0, None)
    assert only_abort is not None and only_abort.delay_seconds == 0.0
    assert only_abort.abort is not None and only_abort.abort.status == 555


def test_an_abort_looks_like_envoys() -> None:
    draw = compile_fault(Fault(abort=FaultAbort(100.0, 500)), "f").draw(random.random)
    assert draw is not None and draw.abort is not None
    assert (draw.abort.body, draw.abort.flags, draw.abort.details) == (
        b"fault filter abort",
        (Flag.FAULT_INJECTED,),
        "fault_filter_abort",
    )


def test_a_grpc_abort_is_trailers_only_for_who_speaks_grpc() -> None:
    draw = compile_fault(Fault(abort=FaultAbort(100.0, grpc_status=14)), "f").draw(random.random)
    assert draw is not None and draw.abort is not None
    assert (draw.abort.status, draw.abort.body, draw.abort.headers) == (200, b"fault filter abort", b"")
    assert b"grpc-status: 14\r\n" in draw.abort.for_grpc().headers


def test_shares_converge() -> None:
    fault = compile_fault(Fault(abort=FaultAbort(12.5, 500)), "f")
    rng = random.Random(1)
    hits = sum(fault.draw(rng.random) is not None for _ in range(20_000))
    assert abs(hits / 20_000 - 0.125) < 0.01


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultDelay(-1.0)),
        Fault(FaultDelay(1.0, 101.0)),
        Fault(abort=FaultAbort(100.0)),
        Fault(abort=FaultAbort(100.0, 500, 14)),
        Fault(abort=FaultAbort(100.0, 199)),
        Fault(abort=FaultAbort(100.0, grpc_status=17)),
    ],
)
def test_nonsense_is_refused(fault: Fault) -> None:
    with pytest.raises(CompileError, match=r"^r fault"):
        compile_fault(fault, "r fault")
