"""A bounded round of the fuzz driver, the same in every run."""

import pytest

from tests.fuzz.driver import run
from tests.support.codec import FORMS, load


@pytest.mark.parametrize(("form", "rounds"), [(FORMS[0], 4000), (FORMS[1], 400)])
def test_mutated_messages(form: str, rounds: int) -> None:
    h1 = load("h1", form)
    if h1 is None:
        pytest.skip("not compiled here")
    assert run(h1, seed=20261121, rounds=rounds) == rounds
