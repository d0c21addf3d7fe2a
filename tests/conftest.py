"""Fixtures that every suite may use."""

pytest_plugins = ["tests.labfixture", "tests.objectstores", "tests.streams"]
