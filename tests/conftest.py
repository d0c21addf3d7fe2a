"""Fixtures that every suite may use, and who runs beside whom."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["tests.labfixture", "tests.objectstores"]

CONTROLLERS = tuple(Path(__file__).parent / suite for suite in ("chaos", "e2e"))
"""Suites that run NovaFleet as a user does."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two processes (``pytest -n 2 --dist loadgroup``) one drives controllers; the other has the rest of the lab."""
    for item in items:
        if item.get_closest_marker("lab"):
            drives = any(item.path.is_relative_to(suite) for suite in CONTROLLERS)
            item.add_marker(pytest.mark.xdist_group("controllers" if drives else "hosts"))
