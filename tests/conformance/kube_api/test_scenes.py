"""Stories told to our API server end as on a real kube-apiserver.

`scenes.json` holds the outcomes of kube-apiserver v1.34.4 (made by `python -m tests.support.kube_scenes FILE`). Where ours differs on purpose,
tests/support/kube_differences.py says with what outcome and why. With `--kube=real` the recording itself is checked against the real server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServer, running
from tests.support.kube_differences import NOT_SERVED, with_outcomes
from tests.support.kube_scenes import HISTORY, Answer, play, session

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("scenes.json").read_text())


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


def _root(version: str) -> str:
    return f"/api/{version}/" if "/" not in version else f"/apis/{version}/"


@pytest.fixture(scope="module")
def missing_answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What a list of each resource that is not served is answered."""
    directory = tmp_path_factory.mktemp("missing")
    paths = [_root(version) + name for version, entry in NOT_SERVED.items() for name in entry.names if "/" not in name]
    with running(directory / "state") as server, session(server.kubeconfig, directory) as made:
        return {path: made.call("GET", path) for path in paths}


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_outcome_is_that_of_the_real_server(name: str, ours: dict[str, Any]) -> None:
    assert ours[name] == with_outcomes(name, RECORDED[name])


def test_every_scene_is_recorded(ours: dict[str, Any]) -> None:
    assert sorted(ours) == sorted(RECORDED)


@pytest.mark.parametrize("version", sorted(NOT_SERVED))
def test_what_is_not_served_is_said_to_be_unknown(version: str, missing_answers: dict[str, Answer]) -> None:
    answers = {path: answer for path, answer in missing_answers.items() if path.startswith(_root(version))}
    assert len(answers) == sum("/" not in name for name in NOT_SERVED[version].names)
    for path, answer in answers.items():
        assert (answer.code, answer.body["kind"], answer.body["reason"], answer.body["message"]) == (404, "Status", "NotFound", "the server could not find the requested resource"), path


@pytest.mark.real_kube
def test_recorded_outcomes_are_what_the_real_server_says(tmp_path: Path) -> None:
    from tests.support.kube_server import binaries, real_kube

    with real_kube(tmp_path, binaries()) as server, session(server.kubeconfig, tmp_path) as made:
        assert play(made) == RECORDED
