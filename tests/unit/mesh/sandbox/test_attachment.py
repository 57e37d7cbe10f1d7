"""Which of our controllers run on somebody else's API server."""

from pathlib import Path

import pytest

from mesh.sandbox.attachment import CONTROLLERS, SCHEDULER, Attachment, BadControllers, choose


@pytest.mark.parametrize(
    ("wish", "held", "expected"),
    [
        ("all", ["kube-controller-manager"], CONTROLLERS),
        ("none", [], ()),
        ("auto", [], CONTROLLERS),
        ("auto", ["kube-scheduler", "some-other-lease"], tuple(name for name in CONTROLLERS if name != SCHEDULER)),
        ("auto", ["kube-controller-manager", "cloud-controller-manager"], (SCHEDULER,)),
        ("garbage, scheduler,garbage", ["kube-scheduler"], ("garbage", "scheduler")),
    ],
)
def test_what_runs_is_what_was_wished_for_or_nobody_provides(wish: str, held: list[str], expected: tuple[str, ...]) -> None:
    assert choose(wish, held) == expected


def test_a_controller_that_there_is_not_is_named_with_those_there_are() -> None:
    with pytest.raises(BadControllers, match=r"no controller 'garbge': use auto, all, none, or some of .*garbage"):
        choose("workloads,garbge", ())


def test_an_attachment_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "attached.json"
    assert Attachment.read(file) is None
    made = Attachment("https://127.0.0.1:6443", ("workloads", SCHEDULER), mesh=True)
    made.write(file)
    assert Attachment.read(file) == made and [path.name for path in tmp_path.iterdir()] == ["attached.json"]
    assert made.managers == ("workloads",)
