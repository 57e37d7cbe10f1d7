"""The list of differences that stay, and the page that shows it."""

import json
from pathlib import Path

from tests.support.kube_differences import ANSWERS, OUTCOMES, PAGE, STRICTER, in_page, stricter

VERDICTS: dict[str, str] = json.loads((Path(__file__).parents[1] / "crds/verdicts.json").read_text())
TAKEN = [name for name, verdict in VERDICTS.items() if verdict == "accepted"]


def test_the_page_is_in_step_with_the_list() -> None:
    text = PAGE.read_text()
    assert in_page(text) == text, "run: python -m tests.support.kube_differences --write"


def test_every_entry_says_why() -> None:
    assert all(entry.reason for entry in (*OUTCOMES, *ANSWERS)) and all(entry.what for entry in STRICTER)


def test_every_pattern_is_about_something_that_real_crds_take() -> None:
    used = {entry.pattern for name in TAKEN if (entry := stricter(name))}
    assert {entry.pattern for entry in STRICTER} == used
