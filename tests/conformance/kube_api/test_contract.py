"""Our API server answers as a real kube-apiserver does.

`recorded.json` holds the answers of kube-apiserver v1.34.4 (made by `python -m tests.support.apiserver_contract FILE`). Compared are the
status code, the reason, what is wrong where, and whole objects; what differs on purpose is listed in tests/support/kube_differences.py.
With `--kube=real` the recording itself is checked against the real server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServer
from tests.support.apiserver_contract import STEPS, client_of, play
from tests.support.kube_differences import TOLERATED

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded.json").read_text())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    try:
        server.start()
        with server.api() as api:
            return play(api)
    finally:
        server.close()


@pytest.mark.parametrize("step", [step.name for step in STEPS])
def test_answer_is_that_of_the_real_server(step: str, ours: dict[str, Any]) -> None:
    assert comparable(step, ours[step]) == comparable(step, RECORDED[step])


@pytest.mark.parametrize("step", sorted(TOLERATED))
def test_what_is_listed_does_differ(step: str, ours: dict[str, Any]) -> None:
    for path in TOLERATED[step]:
        others = {step: TOLERATED[step] - {path}}
        assert comparable(step, ours[step], others) != comparable(step, RECORDED[step], others), f"no difference any more: {step} {path}"


@pytest.mark.real_kube
def test_recording_is_what_the_real_server_says(tmp_path: Path) -> None:
    from tests.support.kube_server import binaries, real_kube

    with real_kube(tmp_path, binaries()) as server, client_of(server.kubeconfig) as api:
        found = play(api)
    assert {step: comparable(step, answer) for step, answer in found.items()} == {step: comparable(step, answer) for step, answer in RECORDED.items()}


def comparable(step: str, answer: dict[str, Any], tolerated: dict[str, set[str]] = TOLERATED) -> Any:
    """What must be equal: of a refusal its code, reason and causes; of an object everything but ownership."""
    body = answer["body"]
    if not isinstance(body, dict):
        return {"code": answer["code"]} if answer["code"] == 404 else answer
    if body.get("kind") == "Status" and answer["code"] >= 400:
        details = body.get("details") or {}
        causes = sorted({(c["reason"], c["field"]) for c in details.get("causes", ())})
        body = {"details": {k: v for k, v in details.items() if k != "causes"}}
        kept = _without(body, tolerated.get(step, set()), "")
        return {"code": answer["code"], **({} if answer["code"] == 404 and not details.get("name") else {"causes": causes, **kept})}
    return {"code": answer["code"], "body": _without(body, tolerated.get(step, set()) | {"metadata.managedFields", "items.metadata.managedFields"}, "")}


def _without(value: Any, dropped: set[str], path: str) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, dropped, f"{path}.{k}" if path else k) for k, v in value.items() if (f"{path}.{k}" if path else k) not in dropped}
    return [_without(v, dropped, path) for v in value] if isinstance(value, list) else value
