"""What controllers ask about pods."""

from typing import Any

from mesh.sandbox.controllers.pods import deletion_order, is_active, seconds_to_available
from mesh.sandbox.times import parse_stamp
from tests.support.sandbox_controllers import EPOCH, make_ready


def pod(**meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "creationTimestamp": EPOCH, **meta}, "spec": {}}


def test_finished_and_ending_pods_are_not_active() -> None:
    assert is_active(pod())
    assert not is_active(pod(deletionTimestamp="x"))
    assert not is_active({**pod(), "status": {"phase": "Succeeded"}})


def test_availability_takes_its_time() -> None:
    ready = pod()
    make_ready(ready)
    now = parse_stamp(EPOCH) + 4
    assert (seconds_to_available(ready, 10, now), seconds_to_available(ready, 4, now), seconds_to_available(pod(), 0, now)) == (6.0, 0.0, None)


def test_who_is_missed_least_goes_first() -> None:
    waiting, unready, ready, dear, newer = pod(), pod(), pod(), pod(annotations={"controller.kubernetes.io/pod-deletion-cost": "5"}), pod(creationTimestamp="2026-02-01T00:00:00Z")
    make_ready(unready, ready=False)
    for item in (ready, dear, newer):
        make_ready(item)
    assert sorted([dear, ready, newer, unready, waiting], key=deletion_order) == [waiting, unready, newer, ready, dear]
