"""Which of our controllers run on a cluster that has its own."""

from pathlib import Path

import pytest

from mesh.sandbox.attachment import CONTROLLERS, Attachment, BadControllers, choose

MANAGER = ["kube-controller-manager"]


@pytest.mark.parametrize(
    ("wish", "held", "chosen"),
    [
        ("auto", [], CONTROLLERS),
        ("auto", MANAGER, ("loadbalancers", "scheduler")),
        ("auto", [*MANAGER, "kube-scheduler", "somebody-else"], ("loadbalancers",)),
        ("auto", [*MANAGER, "kube-scheduler", "cloud-controller-manager"], ()),
        ("all", MANAGER, CONTROLLERS),
        ("none", [], ()),
        ("endpoints, garbage,endpoints", MANAGER, ("endpoints", "garbage")),
    ],
)
def test_choice(wish: str, held: list[str], chosen: tuple[str, ...]) -> None:
    assert choose(wish, held) == chosen


@pytest.mark.parametrize("wish", ["", "pods", "endpoints,", "auto,endpoints"])
def test_an_unknown_controller_is_named(wish: str) -> None:
    with pytest.raises(BadControllers, match="use auto, all, none, or some of workloads, endpoints"):
        choose(wish, [])


def test_an_attachment_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "attached.json"
    assert Attachment.read(file) is None
    made = Attachment("https://127.0.0.1:1", ("loadbalancers", "scheduler"), mesh=True)
    made.write(file)
    assert Attachment.read(file) == made
    assert made.managers == ("loadbalancers",), "the scheduler is the node's"
