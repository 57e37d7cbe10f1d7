"""Fixtures that run a test once with the compiled and once with the uncompiled form of a module."""

from typing import Any

import pytest

from tests.support.codec import FORMS, load


def _form(module: str, form: str) -> Any:
    found = load(module, form)
    if found is None:
        pytest.skip(f"mesh.codec.{module} is not compiled here (TRIOMESH_PURE)")
    return found


@pytest.fixture(scope="session", params=FORMS)
def h1(request: pytest.FixtureRequest) -> Any:
    """The package mesh.codec.h1."""
    return _form("h1", request.param)


@pytest.fixture(scope="session", params=FORMS)
def sock(request: pytest.FixtureRequest) -> Any:
    """The module mesh.codec.sock."""
    return _form("sock", request.param)
