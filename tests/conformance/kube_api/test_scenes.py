"""Stories told to our API server end as on a real kube-apiserver.

`scenes.json` holds the outcomes of kube-apiserver v1.34.4 (made by `python -m tests.support.kube_scenes FILE`). Where ours differs on purpose,
`DIFFERENT` says with what outcome and why. With `--kube=real` the recording itself is checked against the real server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.apiserver import ApiServer
from tests.support.kube_scenes import HISTORY, play, session

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("scenes.json").read_text())
ACCEPTED: list[Any] = [[201], []]


class Difference(NamedTuple):
    """Where in a scene's outcome, what ours is there, and why."""

    scene: str
    path: tuple[str | int, ...]
    ours: Any
    reason: str


# Every deliberate difference between the two servers' stories. (Of single answers: TOLERATED in test_contract.py.)
DIFFERENT = [
    Difference("definitions that are refused", ("rule of another type",), ACCEPTED, "CEL is parsed when a CRD comes, its types are found wrong when a rule is evaluated: cel-python has no type checker"),
    Difference("definitions that are refused", ("rule over an unknown field",), ACCEPTED, "the same"),
    Difference("formats that are not served", ("application/yaml",), [406, "application/json"], "nobody asks for YAML: kubectl makes it itself"),
    Difference("mutation is defaulted and validated", (5, 0, 1), "spec.containers[1]", "a second element of one name is named itself, not its name"),
    Difference("mutation is defaulted and validated", (5, 0, 2), 'Duplicate value: {"name": "a"}', "the same"),
]


def with_differences(name: str, outcome: Any) -> Any:
    """A real server's outcome with ours put in where the two differ on purpose."""
    outcome = json.loads(json.dumps(outcome))
    for difference in DIFFERENT:
        if difference.scene == name:
            place = outcome
            for step in difference.path[:-1]:
                place = place[step]
            assert place[difference.path[-1]] != difference.ours, f"no difference any more: {difference}"
            place[difference.path[-1]] = difference.ours
    return outcome


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    directory = tmp_path_factory.mktemp("scenes")
    server = ApiServer(directory / "state", "--history", str(HISTORY))
    try:
        server.start()
        with session(server.kubeconfig, directory) as made:
            yield play(made)
    finally:
        server.close()


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_outcome_is_that_of_the_real_server(name: str, ours: dict[str, Any]) -> None:
    assert ours[name] == with_differences(name, RECORDED[name])


def test_every_scene_is_recorded(ours: dict[str, Any]) -> None:
    assert sorted(ours) == sorted(RECORDED)


@pytest.mark.real_kube
def test_recorded_outcomes_are_what_the_real_server_says(tmp_path: Path) -> None:
    from tests.support.kube_server import binaries, real_kube

    with real_kube(tmp_path, binaries()) as server, session(server.kubeconfig, tmp_path) as made:
        assert play(made) == RECORDED
