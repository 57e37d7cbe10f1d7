"""What the error channel says."""

import json

from mesh.sandbox.node.sessions import exit_status, failure_status


def test_exit_codes() -> None:
    assert json.loads(exit_status(0)) == {"metadata": {}, "status": "Success"}
    failed = json.loads(exit_status(7))
    assert failed["reason"] == "NonZeroExitCode" and failed["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


def test_a_command_that_could_not_run() -> None:
    assert json.loads(failure_status("why"))["message"] == "why"
